-- Lock the rows of these partitions until the transaction ends, and read their positions.
SELECT kafka_partition, next_offset, topic_id, UTC_TIMESTAMP(6), contract_id
FROM {ledger}
WHERE topic = %s AND kafka_partition IN ({partitions})
ORDER BY kafka_partition
FOR UPDATE
