SELECT COUNT(*)
FROM {quarantine}
WHERE quarantine_id > %s
  AND status = COALESCE(%s, status)
  AND reason = COALESCE(%s, reason)
  AND quarantined_at >= COALESCE(%s, quarantined_at)
  AND (%s IS NULL OR quarantined_at < %s)
  AND kafka_partition = COALESCE(%s, kafka_partition)
  AND order_id <=> COALESCE(%s, order_id)
