LOAD DATA LOCAL INFILE %s INTO TABLE {orders} CHARACTER SET utf8mb4 ({order_names})
