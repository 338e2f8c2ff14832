-- Read the first column of each index of this table.
SELECT DISTINCT column_name
FROM information_schema.statistics
WHERE table_schema = %(database)s AND table_name = %(table)s AND seq_in_index = 1
