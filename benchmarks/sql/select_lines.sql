-- Read a range of orders as lines.
SELECT order_id, CONCAT_WS('\t', {standard_names})
FROM {orders}
WHERE order_id BETWEEN %(first)s AND %(last)s
ORDER BY order_id
