-- Read the 50 newest open entries of the quarantine with this reason, below an id.
SELECT quarantine_id, topic, kafka_partition, kafka_offset, LEFT(record_key, 256), LEFT(record_value, 2048),
       LENGTH(record_value), produced_at, quarantined_at, reason, LEFT(detail, 1000), order_id, status,
       resolved_by, resolved_at
FROM {quarantine}
WHERE status = 'open' AND reason = %(reason)s AND quarantine_id < %(before_id)s
ORDER BY quarantine_id DESC
LIMIT 50
