-- Write orders, and skip those whose order_id exists.
INSERT IGNORE INTO {orders} ({order_names}, kafka_partition, kafka_offset, produced_at, stored_at)
VALUES {rows}
