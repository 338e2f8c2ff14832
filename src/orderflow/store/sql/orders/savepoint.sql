-- Mark the point before the orders of a transaction.
SAVEPOINT before_rows
