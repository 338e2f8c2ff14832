SELECT order_id, CONCAT_WS('\t', {order_names})
FROM {orders}
WHERE order_id BETWEEN %s AND %s
ORDER BY order_id
