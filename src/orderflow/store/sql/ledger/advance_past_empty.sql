-- Move the position past offsets that hold no record, unless another session has moved it.
-- updated_at stays the time of the last record.
UPDATE {ledger} SET next_offset = %(end)s
WHERE topic = %(topic)s AND kafka_partition = %(partition)s AND topic_id = %(topic_id)s AND next_offset = %(start)s
