-- Write orders from a file into the plain table.
LOAD DATA LOCAL INFILE %(file)s INTO TABLE {orders} CHARACTER SET utf8mb4 ({order_names})
