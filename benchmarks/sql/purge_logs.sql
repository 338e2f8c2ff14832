-- Delete the binary logs.
PURGE BINARY LOGS BEFORE UTC_TIMESTAMP()
