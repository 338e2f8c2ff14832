SELECT order_id, kafka_partition, kafka_offset
FROM {orders}
WHERE %s IS NULL OR order_id > %s
ORDER BY order_id
LIMIT 10000
