-- Add the adopted orders to the rollup.
-- SUM ignores NULL. A sum that lacks an order is NULL here, which the table refuses.
INSERT INTO {by_minute} (minute, product_category, kafka_partition, orders, units, revenue)
SELECT {order_minute}, product_category COLLATE utf8mb4_bin, -1, COUNT(*),
       IF(COUNT(quantity) = COUNT(*), SUM(quantity), NULL),
       IF(COUNT(total_price) = COUNT(*), SUM(total_price), NULL)
FROM {orders}
WHERE kafka_partition = -1
GROUP BY 1, 2
ON DUPLICATE KEY UPDATE orders = VALUES(orders), units = VALUES(units), revenue = VALUES(revenue)
