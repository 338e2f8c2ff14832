-- Read the server's version and time, and the settings that matter for durability.
SELECT VERSION(), @@GLOBAL.local_infile, @@GLOBAL.sql_mode,
       @@GLOBAL.innodb_flush_log_at_trx_commit, @@GLOBAL.log_bin, @@GLOBAL.sync_binlog, UTC_TIMESTAMP(6)
