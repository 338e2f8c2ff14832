SELECT next_offset, topic_id, UTC_TIMESTAMP(6)
FROM {ledger}
WHERE topic = %s AND kafka_partition = %s
FOR UPDATE
