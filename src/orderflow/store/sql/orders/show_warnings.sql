-- Read the warnings of the previous statement.
SHOW WARNINGS
