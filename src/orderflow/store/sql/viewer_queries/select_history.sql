-- Sum up the sales of a period by interval and category.
SELECT TIMESTAMPDIFF(SECOND, '1970-01-01', minute) DIV %s AS bucket,
       CASE WHEN product_category IN ({categories}) THEN product_category END AS category,
       SUM(orders), SUM(revenue)
FROM {by_minute}
WHERE minute >= %s AND minute < %s
GROUP BY bucket, category
