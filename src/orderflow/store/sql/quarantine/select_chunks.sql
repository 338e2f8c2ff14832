-- Read the chunks of a record, in order.
SELECT field, bytes
FROM {chunks}
WHERE topic_id = %(topic_id)s AND kafka_partition = %(partition)s AND kafka_offset = %(offset)s
ORDER BY field, chunk_index
