-- Read the last record of each partition of this topic that a transaction accounted for.
SELECT kafka_partition, last_offset, last_hash
FROM {ledger}
WHERE topic = %(topic)s AND last_offset >= 0
