-- Find the rows of a view that differ from those of its definition.
SELECT {columns}, SUM(difference), COUNT(*) OVER ()
FROM (
  SELECT {columns}, 1 AS difference FROM {view}
  UNION ALL
  SELECT {columns}, -1 FROM ({definition}) AS expected
) AS view_less_definition
GROUP BY {columns}
HAVING SUM(difference) <> 0
ORDER BY {columns}
LIMIT %(limit)s
