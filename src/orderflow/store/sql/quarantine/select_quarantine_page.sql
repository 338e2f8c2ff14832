-- Read the next 1,000 entries that match a filter, without the records themselves.
SELECT quarantine_id, topic, topic_id, kafka_partition, kafka_offset, produced_at, quarantined_at, reason, detail,
       order_id, status, resolved_by, resolved_at, resolved_because, chunks
FROM {quarantine}
WHERE quarantine_id > %(after_id)s
  AND status = COALESCE(%(status)s, status)
  AND reason = COALESCE(%(reason)s, reason)
  AND quarantined_at >= COALESCE(%(since)s, quarantined_at)
  AND (%(until)s IS NULL OR quarantined_at < %(until)s)
  AND kafka_partition = COALESCE(%(partition)s, kafka_partition)
  AND order_id <=> COALESCE(%(order_id)s, order_id)
ORDER BY quarantine_id
LIMIT 1000
