-- Add the version of the contract to the quarantine.
ALTER TABLE {quarantine}
  ADD COLUMN contract_id INT NULL COMMENT 'the version by which a replay read the record, NULL for the default one'
