-- Find the sums of the rollup that differ from those of the orders.
SELECT minute, category, kafka_partition, SUM(orders), SUM(units), SUM(revenue), COUNT(*) OVER ()
FROM (
  SELECT minute, product_category AS category, kafka_partition, orders, units, revenue
  FROM {by_minute}
  UNION ALL
  SELECT {order_minute}, product_category COLLATE utf8mb4_bin,
         kafka_partition, -COUNT(*), -SUM(quantity), -SUM(total_price)
  FROM {orders}
  GROUP BY 1, 2, 3
) AS rollup_less_orders
GROUP BY 1, 2, 3
HAVING SUM(orders) <> 0 OR SUM(units) <> 0 OR SUM(revenue) <> 0
ORDER BY 1, 2, 3
LIMIT %(limit)s
