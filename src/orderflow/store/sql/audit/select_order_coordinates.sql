-- Read the coordinates of the next 10,000 orders, by order_id.
SELECT order_id, kafka_partition, kafka_offset, stored_at
FROM {orders}
WHERE %(after_id)s IS NULL OR order_id > %(after_id)s
ORDER BY order_id
LIMIT 10000
