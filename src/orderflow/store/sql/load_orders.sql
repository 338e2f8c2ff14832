-- Not CHARACTER SET binary, though it is faster: a column that was given another set would hold the bytes of UTF-8.
LOAD DATA LOCAL INFILE %s INTO TABLE {orders}
CHARACTER SET utf8mb4
FIELDS TERMINATED BY '\t' ESCAPED BY '\\'
LINES TERMINATED BY '\n'
({order_names}, kafka_partition, kafka_offset, produced_at)
SET stored_at = TIMESTAMP %s
