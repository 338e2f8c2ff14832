SELECT field, bytes
FROM {parts}
WHERE topic_id = %s AND kafka_partition = %s AND kafka_offset = %s
ORDER BY field, part
