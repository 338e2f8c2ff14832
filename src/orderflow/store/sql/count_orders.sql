SELECT COUNT(*), COUNT(CASE kafka_partition WHEN -1 THEN 1 END)
FROM {orders}
