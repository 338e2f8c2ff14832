SELECT DISTINCT column_name
FROM information_schema.statistics
WHERE table_schema = %s AND table_name = %s AND seq_in_index = 1
