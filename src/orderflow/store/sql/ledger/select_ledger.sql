-- Read every row, ordered by topic and partition.
SELECT topic, kafka_partition, topic_id, first_offset, next_offset,
       `stored`, duplicates, quarantined, unknown_fields, updated_at
FROM {ledger}
ORDER BY topic, kafka_partition
