-- Add the last record of each partition to the ledger. There is none until the partition's next transaction.
ALTER TABLE {ledger}
  ADD COLUMN last_offset BIGINT NOT NULL DEFAULT -1 INVISIBLE COMMENT 'the last record that a transaction accounted for, -1 for none',
  ADD COLUMN last_hash BIGINT NOT NULL DEFAULT 0 INVISIBLE COMMENT 'of its timestamp and key: shows whether Kafka still has it'
