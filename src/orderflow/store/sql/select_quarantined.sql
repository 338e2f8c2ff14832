SELECT kafka_offset, record_key, record_value, reason, order_id
FROM {quarantine}
WHERE topic_id = %s AND kafka_partition = %s AND kafka_offset >= %s AND kafka_offset < %s
