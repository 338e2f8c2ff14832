-- Return how much of InnoDB's buffer pool is in use.
SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_bytes_data'
