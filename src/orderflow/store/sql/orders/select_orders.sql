-- Read the orders with these ids, to compare them with new ones.
SELECT {order_names}, kafka_partition, kafka_offset, stored_at
FROM {orders}
WHERE order_id IN ({ids})
