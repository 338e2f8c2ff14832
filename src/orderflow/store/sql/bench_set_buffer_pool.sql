SET GLOBAL innodb_buffer_pool_size = %s
