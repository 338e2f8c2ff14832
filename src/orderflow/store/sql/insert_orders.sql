INSERT IGNORE INTO {orders} ({order_names}, kafka_offset, produced_at, kafka_partition, stored_at)
VALUES {rows}
