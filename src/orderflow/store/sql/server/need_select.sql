-- Require the SELECT privilege on a table. The statement is only prepared.
SELECT {column}
FROM {table}
