-- Read the highest version that records were stored by, and the number of records.
SELECT COALESCE(MAX(contract_id), 0), COALESCE(SUM(next_offset - first_offset), 0)
FROM {database}.{ledger}
