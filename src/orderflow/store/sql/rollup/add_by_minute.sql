-- Add sums by minute, category and partition.
INSERT INTO {by_minute} (minute, product_category, kafka_partition, orders, units, revenue)
VALUES {rows}
ON DUPLICATE KEY UPDATE
  orders = orders + VALUES(orders), units = units + VALUES(units), revenue = revenue + VALUES(revenue)
