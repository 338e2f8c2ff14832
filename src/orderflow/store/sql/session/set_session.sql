-- Set everything that OrderFlow's statements rely on.
-- An administrator may have set other values for all sessions. Every user may set these.
SET SESSION
  sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00',
  sql_notes = 1, sql_select_limit = 18446744073709551615, sql_big_selects = 1, sql_safe_updates = 0,
  sql_auto_is_null = 0, foreign_key_checks = 1, unique_checks = 1, completion_type = 0,
  group_concat_max_len = 65535, max_sort_length = 1024,
  innodb_lock_wait_timeout = %(lock_wait)s, lock_wait_timeout = %(metadata_lock_wait)s,
  wait_timeout = %(idle_timeout)s, net_read_timeout = 60, net_write_timeout = 60
  /*!80000 , max_execution_time = 0 */
  /*M! , old_mode = '', check_constraint_checks = 1, max_statement_time = 0, max_error_count = 65535,
         idle_transaction_timeout = 0, idle_write_transaction_timeout = 0, idle_readonly_transaction_timeout = 0 */
  /*M!101106 , note_verbosity = 'basic' */
