-- Record from which offset of a partition a version of the contract holds.
INSERT INTO {contract_starts} (topic_id, kafka_partition, first_offset, contract_id)
VALUES (%(topic_id)s, %(partition)s, %(first_offset)s, %(contract_id)s)
ON DUPLICATE KEY UPDATE contract_id = VALUES(contract_id)
