-- Read the highest version with which records were stored, and the number of records.
SELECT COALESCE(MAX(contract_id), 0), COALESCE(SUM(next_offset - first_offset), 0)
FROM {database}.{ledger}
