-- Return which of these orders can be read.
SELECT order_id
FROM {orders}
WHERE order_id IN ({ids})
