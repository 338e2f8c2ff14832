-- Read every order.
SELECT {order_names}
FROM {orders}
