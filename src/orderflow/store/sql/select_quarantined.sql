SELECT kafka_offset, record_key, record_value, mended_value, parts, reason, order_id, status,
       resolved_by, resolved_at, resolved_because
FROM {quarantine}
WHERE topic_id = %s AND kafka_partition = %s AND kafka_offset >= %s AND kafka_offset < %s
