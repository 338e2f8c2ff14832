-- Count the entries that match a filter.
SELECT COUNT(*)
FROM {quarantine}
WHERE quarantine_id > %(after_id)s
  AND status = COALESCE(%(status)s, status)
  AND reason = COALESCE(%(reason)s, reason)
  AND quarantined_at >= COALESCE(%(since)s, quarantined_at)
  AND (%(until)s IS NULL OR quarantined_at < %(until)s)
  AND kafka_partition = COALESCE(%(partition)s, kafka_partition)
  AND order_id <=> COALESCE(%(order_id)s, order_id)
