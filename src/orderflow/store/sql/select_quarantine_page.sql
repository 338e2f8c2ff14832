SELECT quarantine_id, topic, topic_id, kafka_partition, kafka_offset, produced_at, quarantined_at, reason, detail,
       order_id, status, resolved_by, resolved_at, resolved_because, parts
FROM {quarantine}
WHERE quarantine_id > %s
  AND status = COALESCE(%s, status)
  AND reason = COALESCE(%s, reason)
  AND quarantined_at >= COALESCE(%s, quarantined_at)
  AND (%s IS NULL OR quarantined_at < %s)
  AND kafka_partition = COALESCE(%s, kafka_partition)
  AND order_id <=> COALESCE(%s, order_id)
ORDER BY quarantine_id
LIMIT 1000
