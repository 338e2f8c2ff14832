-- Read the settings that decide what a commit costs.
SELECT @@GLOBAL.innodb_doublewrite, @@GLOBAL.innodb_buffer_pool_size
