INSERT IGNORE INTO {ledger} (topic, kafka_partition, topic_id, first_offset, next_offset, updated_at)
VALUES (%s, %s, %s, %s, %s, UTC_TIMESTAMP(6))
