LOAD DATA LOCAL INFILE %s INTO TABLE {orders}
CHARACTER SET utf8mb4
FIELDS TERMINATED BY '\t' ESCAPED BY '\\'
LINES TERMINATED BY '\n'
({order_names}, kafka_partition, kafka_offset, produced_at)
SET stored_at = %s
