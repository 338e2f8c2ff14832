SELECT {order_names}
FROM {orders}
