-- Add the adopted orders to the rollup.
INSERT INTO {by_minute} (minute, product_category, kafka_partition, orders, units, revenue)
SELECT {order_minute}, product_category COLLATE utf8mb4_bin, -1,
       COUNT(*), SUM(quantity), SUM(total_price)
FROM {orders}
WHERE kafka_partition = -1
GROUP BY 1, 2
ON DUPLICATE KEY UPDATE orders = VALUES(orders), units = VALUES(units), revenue = VALUES(revenue)
