-- Rows that were there before are marked by partition -1; rows written later by hand get NULL.
ALTER TABLE {orders}
  ADD COLUMN kafka_partition INT NULL DEFAULT -1 INVISIBLE,
  ADD COLUMN kafka_offset BIGINT NULL INVISIBLE,
  ADD COLUMN produced_at DATETIME(3) NULL INVISIBLE,
  ADD COLUMN stored_at DATETIME(6) NULL INVISIBLE
