-- Add quarantined records.
INSERT INTO {quarantine} (topic, topic_id, kafka_partition, kafka_offset, record_key, record_value, record_headers,
                          produced_at, quarantined_at, reason, detail, order_id, chunks)
VALUES {rows}
