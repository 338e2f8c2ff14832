SELECT product_category, SUM(orders), SUM(units), SUM(revenue),
       SUM(SUM(orders)) OVER (), SUM(SUM(units)) OVER (), SUM(SUM(revenue)) OVER ()
FROM {by_minute}
WHERE minute >= %s AND minute < %s
GROUP BY product_category
ORDER BY 4 DESC, 1
LIMIT 7
