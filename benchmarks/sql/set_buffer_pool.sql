-- Set the size of InnoDB's buffer pool.
SET GLOBAL innodb_buffer_pool_size = %(bytes)s
