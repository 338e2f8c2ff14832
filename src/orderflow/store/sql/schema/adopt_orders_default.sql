-- End the adoption: rows that are written by hand after it have no partition.
ALTER TABLE {orders} ALTER COLUMN kafka_partition SET DEFAULT NULL
