-- Record offsets whose loss a person accepted.
INSERT INTO {losses} (topic, topic_id, kafka_partition, first_offset, end_offset, accepted_at, accepted_by)
VALUES (%(topic)s, %(topic_id)s, %(partition)s, %(first_offset)s, %(end_offset)s, %(accepted_at)s, %(accepted_by)s)
