-- Read all versions of the contract.
SELECT contract_id, contract
FROM {database}.{contracts}
ORDER BY contract_id
