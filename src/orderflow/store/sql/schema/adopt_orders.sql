-- Add the columns for provenance to a table of orders that a user created.
-- Existing rows get partition -1; rows that are written later by hand get NULL.
ALTER TABLE {orders}
  ADD COLUMN kafka_partition INT NULL DEFAULT -1 INVISIBLE,
  ADD COLUMN kafka_offset BIGINT NULL INVISIBLE,
  ADD COLUMN produced_at DATETIME(3) NULL INVISIBLE,
  ADD COLUMN stored_at DATETIME(6) NULL INVISIBLE
