-- Sum up the sales of a period by category.
SELECT product_category, SUM(orders), SUM(units), SUM(revenue),
       SUM(SUM(orders)) OVER (), SUM(SUM(units)) OVER (), SUM(SUM(revenue)) OVER ()
FROM {by_minute}
WHERE minute >= %(since)s AND minute < %(until)s
GROUP BY product_category
ORDER BY 4 DESC, 1
LIMIT 7
