-- Write one order; the server's strict mode refuses values that the table cannot hold.
INSERT INTO {orders} ({order_names}, kafka_partition, kafka_offset, produced_at, stored_at)
VALUES ({values})
