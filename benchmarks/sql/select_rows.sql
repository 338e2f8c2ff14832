-- Read every order.
SELECT {standard_names}
FROM {orders}
