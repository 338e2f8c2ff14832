SELECT index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index)
FROM information_schema.statistics
WHERE table_schema = %s AND table_name = %s AND non_unique = 0
GROUP BY index_name
