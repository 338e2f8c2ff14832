-- Start a transaction that sees the tables as they are now.
START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY
