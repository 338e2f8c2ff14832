-- Read the names and columns of these tables' unique keys, with prefix lengths.
-- MAX: two tables may have names that differ in case only, and the server compares names without case.
SELECT MAX(table_name), MAX(index_name),
       GROUP_CONCAT(CONCAT(LOWER(column_name), COALESCE(CONCAT('(', sub_part, ')'), '')) ORDER BY seq_in_index)
FROM information_schema.statistics
WHERE table_schema = %s AND table_name IN ({tables}) AND non_unique = 0
GROUP BY HEX(table_name), HEX(index_name)
