-- In the index's own order: sorting a large customer's orders by time would cost a read of them all.
SELECT {order_names}, kafka_partition, kafka_offset, produced_at, stored_at
FROM {orders}
WHERE customer_id = %s
ORDER BY order_id DESC
LIMIT %s
