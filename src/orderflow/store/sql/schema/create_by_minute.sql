-- Create the rollup: sums by minute, category and partition.
CREATE TABLE IF NOT EXISTS {by_minute} (
  minute DATETIME NOT NULL,
  product_category VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  kafka_partition INT NOT NULL COMMENT 'so that concurrent transactions never wait on one hot row',
  orders BIGINT NOT NULL,
  units BIGINT NOT NULL,
  revenue DECIMAL(30,2) NOT NULL,
  PRIMARY KEY (minute, product_category, kafka_partition)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
