-- Add a version of the contract, unless another process has added it. The text is in hex, which needs no quoting.
INSERT IGNORE INTO {contracts} (contract_id, contract, added_at)
VALUES ({contract_id}, CONVERT(X'{contract}' USING utf8mb4), UTC_TIMESTAMP(6))
