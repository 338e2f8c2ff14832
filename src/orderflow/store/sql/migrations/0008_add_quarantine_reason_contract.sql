-- Add the version of the contract by which a replay set the reason.
ALTER TABLE {quarantine}
  ADD COLUMN reason_contract_id INT NULL COMMENT 'the version by which a replay found the conflict, NULL for a reason of the sink'
