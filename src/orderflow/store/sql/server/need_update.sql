-- Require the UPDATE privilege on a table. The statement is only prepared.
UPDATE {table}
SET {column} = NULL
