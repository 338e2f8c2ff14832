-- Add the columns of the ledger that the first version did not have.
-- They do not cover rows of that version: lost is NULL for its partitions, and times_rows is too low.
ALTER TABLE {ledger}
  ADD COLUMN lost BIGINT NULL INVISIBLE COMMENT 'offsets that left the topic unread, which was accepted',
  ADD COLUMN times_rows BIGINT NOT NULL DEFAULT 0 INVISIBLE COMMENT 'how many rows times_sum covers',
  ADD COLUMN times_sum DECIMAL(40,0) NOT NULL DEFAULT 0 INVISIBLE COMMENT 'their stored_at or quarantined_at, microseconds since 1970'
