-- Create a table of orders without OrderFlow's own columns.
CREATE TABLE {orders} (
  {order_columns},
  PRIMARY KEY (order_id),
  INDEX idx_customer (customer_id),
  INDEX idx_timestamp (order_timestamp)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
