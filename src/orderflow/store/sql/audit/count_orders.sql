-- Count the orders, and count and sum up those that were adopted.
SELECT COUNT(*), COUNT(CASE kafka_partition WHEN -1 THEN 1 END),
       COALESCE(SUM(CASE kafka_partition WHEN -1 THEN {row_hash} END), 0)
FROM {orders}
