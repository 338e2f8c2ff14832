SELECT order_id, order_timestamp
FROM {orders}
ORDER BY order_timestamp DESC
LIMIT 1
