-- Add the columns of the quarantine that the first version did not have.
-- Both servers do this instantly, whatever the table's size.
ALTER TABLE {quarantine}
  ADD COLUMN resolved_because VARCHAR(1000) CHARACTER SET utf8mb4 NULL COMMENT 'why it was discarded',
  ADD COLUMN mended_value LONGBLOB NULL COMMENT 'what was replayed in place of record_value',
  ADD COLUMN parts INT NOT NULL DEFAULT 0 COMMENT 'how many rows of {record_parts} hold the rest of key, value and headers'
