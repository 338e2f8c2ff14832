SELECT @@GLOBAL.innodb_doublewrite, @@GLOBAL.innodb_buffer_pool_size
