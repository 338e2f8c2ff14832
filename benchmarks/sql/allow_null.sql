-- Let a table of orders hold what the alternatives write.
ALTER TABLE {orders}
  MODIFY customer_id INT,
  MODIFY product_name VARCHAR(255),
  MODIFY product_category VARCHAR(100),
  MODIFY unit_price DECIMAL(10,2),
  MODIFY quantity INT,
  MODIFY total_price DECIMAL(10,2),
  MODIFY order_timestamp DATETIME
