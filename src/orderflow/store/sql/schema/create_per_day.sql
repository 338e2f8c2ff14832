-- Create the view of sales by UTC day.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW {per_day} AS
SELECT DATE(minute) AS day, product_category, SUM(orders) AS orders, SUM(units) AS units, SUM(revenue) AS revenue
FROM {by_minute}
GROUP BY DATE(minute), product_category
