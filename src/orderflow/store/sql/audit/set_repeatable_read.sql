-- Make all statements of a transaction see the same moment.
SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ
