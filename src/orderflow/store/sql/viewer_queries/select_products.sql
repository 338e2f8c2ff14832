-- Sum up the 5,000 newest orders by product.
SELECT product_name, COUNT(*), SUM(quantity), SUM(total_price), MIN(MIN(order_timestamp)) OVER (),
       MAX(MAX(order_timestamp)) OVER (), SUM(COUNT(*)) OVER (), SUM(SUM(quantity)) OVER (), SUM(SUM(total_price)) OVER ()
FROM (
  SELECT product_name, quantity, total_price, order_timestamp
  FROM {orders}
  WHERE order_timestamp <= UTC_TIMESTAMP() + INTERVAL 1 MINUTE
  ORDER BY order_timestamp DESC, order_id DESC
  LIMIT 5000
) AS latest
GROUP BY product_name
ORDER BY 3 DESC, 1
LIMIT 6
