-- Read the newest orders by order_timestamp.
SELECT {standard_names}, kafka_partition, kafka_offset, produced_at, stored_at
FROM {orders}
WHERE order_timestamp <= UTC_TIMESTAMP() + INTERVAL 1 MINUTE
ORDER BY order_timestamp DESC, order_id DESC
LIMIT %(count)s
