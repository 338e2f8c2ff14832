SELECT COUNT(*)
FROM {orders}
