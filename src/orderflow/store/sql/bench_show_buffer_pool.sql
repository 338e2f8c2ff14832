SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_bytes_data'
