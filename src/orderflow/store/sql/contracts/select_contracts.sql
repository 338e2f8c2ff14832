-- Read all versions of the contract.
SELECT contract_id, contract
FROM {contracts}
ORDER BY contract_id
