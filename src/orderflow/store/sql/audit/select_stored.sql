-- Read the orders of these ids with all their provenance.
SELECT {order_names}, kafka_partition, kafka_offset, produced_at, stored_at
FROM {orders}
WHERE order_id IN ({ids})
