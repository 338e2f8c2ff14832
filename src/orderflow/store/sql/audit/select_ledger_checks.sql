-- Read the ledger's values that other tables are checked against.
SELECT topic, kafka_partition, lost, times_rows, times_sum, contract_id
FROM {ledger}
