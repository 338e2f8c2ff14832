-- Read the ledger's values that other tables are checked against.
SELECT topic, kafka_partition, lost, times_rows, times_sum, contract_id, last_offset, last_hash
FROM {ledger}
