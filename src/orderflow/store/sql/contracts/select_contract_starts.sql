-- Read from which offset of each partition each version of the contract holds.
SELECT topic_id, kafka_partition, first_offset, contract_id
FROM {contract_starts}
ORDER BY topic_id, kafka_partition, first_offset
