-- Set how long a statement that changes a table waits for transactions that use the table.
SET SESSION lock_wait_timeout = %(seconds)s
