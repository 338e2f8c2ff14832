SELECT quarantine_id, topic, topic_id, kafka_partition, kafka_offset, order_id
FROM {quarantine}
WHERE quarantine_id > %s
ORDER BY quarantine_id
LIMIT 10000
