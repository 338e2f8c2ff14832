-- Count the orders.
SELECT COUNT(*)
FROM {orders}
