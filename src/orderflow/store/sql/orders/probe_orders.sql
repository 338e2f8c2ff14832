-- Write no order: fails if every write of an order would fail.
-- It fails if the table, a column or the privilege to write is missing. It fires no trigger.
INSERT IGNORE INTO {orders} ({order_names}, kafka_partition, kafka_offset, produced_at, stored_at)
SELECT {order_names}, kafka_partition, kafka_offset, produced_at, stored_at
FROM {orders}
WHERE FALSE
