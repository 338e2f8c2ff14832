-- Undo the orders of a transaction, and keep its locks.
ROLLBACK TO SAVEPOINT before_rows
