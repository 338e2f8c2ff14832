-- Rename the table of record parts and its column.
-- Only metadata changes. The last line makes the server refuse the statement if it would have to copy the table.
ALTER TABLE {record_parts}
  RENAME COLUMN part TO chunk_index,
  RENAME TO {chunks},
  ALGORITHM = INPLACE, LOCK = NONE
