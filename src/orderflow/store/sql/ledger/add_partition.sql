-- Add a partition to the ledger, unless the ledger has it already.
INSERT IGNORE INTO {ledger} (topic, kafka_partition, topic_id, first_offset, next_offset, lost, updated_at)
VALUES (%(topic)s, %(partition)s, %(topic_id)s, %(first_offset)s, %(first_offset)s, 0, UTC_TIMESTAMP(6))
