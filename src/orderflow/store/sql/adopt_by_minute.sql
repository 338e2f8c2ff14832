INSERT INTO {by_minute} (minute, product_category, kafka_partition, orders, units, revenue)
SELECT DATE_FORMAT(order_timestamp, '%%Y-%%m-%%d %%H:%%i:00'), product_category, -1,
       COUNT(*), SUM(quantity), SUM(total_price)
FROM {orders}
WHERE kafka_partition = -1
GROUP BY 1, 2
ON DUPLICATE KEY UPDATE orders = VALUES(orders), units = VALUES(units), revenue = VALUES(revenue)
