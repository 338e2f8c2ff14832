SELECT index_name, GROUP_CONCAT(CONCAT(LOWER(column_name), COALESCE(CONCAT('(', sub_part, ')'), '')) ORDER BY seq_in_index)
FROM information_schema.statistics
WHERE table_schema = %s AND table_name = %s AND non_unique = 0
GROUP BY index_name
