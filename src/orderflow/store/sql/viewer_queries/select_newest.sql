-- Read the id and time of the newest order.
SELECT order_id, order_timestamp
FROM {orders}
ORDER BY order_timestamp DESC
LIMIT 1
