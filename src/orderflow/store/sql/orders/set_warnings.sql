-- Make SHOW WARNINGS show all warnings of a statement, up to 65,535.
SET SESSION max_error_count = 65535
