-- Add a chunk of a record that is larger than a packet of the server.
INSERT INTO {chunks} (topic_id, kafka_partition, kafka_offset, field, chunk_index, bytes)
VALUES (%(topic_id)s, %(partition)s, %(offset)s, %(field)s, %(chunk_index)s, %(bytes)s)
