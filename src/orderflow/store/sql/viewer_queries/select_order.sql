-- Read an order with its provenance.
SELECT {order_names}, kafka_partition, kafka_offset, produced_at, stored_at
FROM {orders}
WHERE order_id = %(order_id)s
