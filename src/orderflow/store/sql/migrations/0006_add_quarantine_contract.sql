-- Add the version of the contract to the quarantine.
ALTER TABLE {quarantine}
  ADD COLUMN contract_id INT NULL COMMENT 'the version that the record was replayed by, NULL for the default one'
