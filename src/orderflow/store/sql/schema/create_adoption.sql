-- Create the count and checksum of the adopted orders.
-- One statement, so that the table never exists without its count.
CREATE TABLE IF NOT EXISTS {adoption} (
  adoption_id INT NOT NULL PRIMARY KEY,
  counted_at DATETIME(6) NOT NULL,
  orders BIGINT NOT NULL COMMENT 'rows of {orders} with kafka_partition -1',
  row_checksum DECIMAL(40,0) NOT NULL COMMENT 'the sum of their hashes'
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
SELECT 1 AS adoption_id, UTC_TIMESTAMP(6) AS counted_at, COUNT(*) AS orders, COALESCE(SUM({row_hash}), 0) AS row_checksum
FROM {orders}
WHERE kafka_partition = -1
