INSERT INTO {parts} (topic_id, kafka_partition, kafka_offset, field, part, bytes)
VALUES (%s, %s, %s, %s, %s, %s)
