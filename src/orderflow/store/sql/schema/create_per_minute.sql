-- Create the view of sales by minute.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW {per_minute} AS
SELECT minute, product_category, SUM(orders) AS orders, SUM(units) AS units, SUM(revenue) AS revenue
FROM {by_minute}
GROUP BY minute, product_category
