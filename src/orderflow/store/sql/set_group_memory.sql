-- With the 16 MB of both servers' defaults, half a million groups spill to disk and take three times as long.
SET SESSION tmp_table_size = 268435456, max_heap_table_size = 268435456
