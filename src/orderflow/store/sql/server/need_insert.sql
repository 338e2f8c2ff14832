-- Require the INSERT privilege on a table. The statement is only prepared.
INSERT INTO {table} ({column})
VALUES (NULL)
