-- Add the version of the contract to the ledger.
ALTER TABLE {ledger}
  ADD COLUMN contract_id INT NOT NULL DEFAULT 0 INVISIBLE COMMENT 'contract version with which the last records were stored'
