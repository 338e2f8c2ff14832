-- Create the orders table: the contract's columns, and invisible columns for provenance.
CREATE TABLE IF NOT EXISTS {orders} (
  {order_columns},
  kafka_partition INT NULL INVISIBLE,
  kafka_offset BIGINT NULL INVISIBLE,
  produced_at DATETIME(3) NULL INVISIBLE,
  stored_at DATETIME(6) NULL INVISIBLE,
  PRIMARY KEY (order_id),
  INDEX idx_customer (customer_id),
  INDEX idx_timestamp (order_timestamp)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
