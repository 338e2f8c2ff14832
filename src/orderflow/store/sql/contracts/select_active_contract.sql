-- Read the highest version that records were stored by.
SELECT COALESCE(MAX(contract_id), 0)
FROM {ledger}
