-- Read the orders with these ids, to compare them with records.
SELECT {order_names}, kafka_partition, kafka_offset, produced_at, stored_at
FROM {orders}
WHERE order_id IN ({ids})
