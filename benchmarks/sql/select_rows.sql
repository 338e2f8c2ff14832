-- Read every order.
SELECT {eight_names}
FROM {orders}
