-- Rename the quarantine's columns mended_value and parts.
-- Only metadata changes. The last line makes the server refuse the statement if it would have to copy the table.
ALTER TABLE {quarantine}
  RENAME COLUMN mended_value TO corrected_value,
  CHANGE COLUMN parts chunks INT NOT NULL DEFAULT 0 COMMENT 'how many rows of {chunks} hold the rest of key, value and headers',
  ALGORITHM = INPLACE, LOCK = NONE
