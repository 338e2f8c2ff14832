-- Read every accepted loss.
SELECT topic, topic_id, kafka_partition, first_offset, end_offset, accepted_at, accepted_by
FROM {losses}
ORDER BY topic, kafka_partition, first_offset
