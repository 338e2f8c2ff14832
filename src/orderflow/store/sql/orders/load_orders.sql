-- Write orders from a file on the client's machine, and skip those whose order_id exists.
-- CHARACTER SET binary is faster, but would store the bytes of UTF-8 in a column with another character set.
LOAD DATA LOCAL INFILE %(file)s INTO TABLE {orders}
CHARACTER SET utf8mb4
FIELDS TERMINATED BY '\t' ESCAPED BY '\\'
LINES TERMINATED BY '\n'
({order_names}, kafka_partition, kafka_offset, produced_at)
SET stored_at = TIMESTAMP %(stored_at)s
