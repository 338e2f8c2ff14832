-- Read the coordinates of the next 10,000 quarantined records, by id.
SELECT quarantine_id, topic, topic_id, kafka_partition, kafka_offset, order_id, quarantined_at
FROM {quarantine}
WHERE quarantine_id > %(after_id)s
ORDER BY quarantine_id
LIMIT 10000
