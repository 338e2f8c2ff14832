INSERT INTO {losses} (topic, topic_id, kafka_partition, first_offset, end_offset, accepted_at, accepted_by)
VALUES (%s, %s, %s, %s, %s, %s, %s)
