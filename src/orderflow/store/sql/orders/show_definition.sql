-- Show the definition of the orders table, to find out whether it was altered.
-- After a write in the same transaction, nobody can alter the table until COMMIT.
SHOW CREATE TABLE {orders}
