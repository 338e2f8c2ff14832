-- Read the quarantined records of a range of offsets.
SELECT kafka_offset, record_key, record_value, chunks, topic, corrected_value, produced_at, quarantined_at, reason, order_id,
       status, resolved_by, resolved_at, resolved_because, contract_id, reason_contract_id
FROM {quarantine}
WHERE topic_id = %(topic_id)s AND kafka_partition = %(partition)s AND kafka_offset >= %(start)s AND kafka_offset < %(end)s
