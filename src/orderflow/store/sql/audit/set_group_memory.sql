-- Let GROUP BY use 256 MB of memory before it spills to disk.
-- With both servers' default of 16 MB, half a million groups spill to disk and take three times as long.
SET SESSION tmp_table_size = 268435456, max_heap_table_size = 268435456
