-- Read the entries with these ids, without the records themselves.
SELECT quarantine_id, topic, topic_id, kafka_partition, kafka_offset, produced_at, quarantined_at, reason, detail,
       order_id, status, resolved_by, resolved_at, resolved_because, chunks
FROM {quarantine}
WHERE quarantine_id IN ({ids})
ORDER BY quarantine_id
