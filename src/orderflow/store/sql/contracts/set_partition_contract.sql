-- Set the version that a locked partition's next records are stored by.
UPDATE {ledger}
SET contract_id = %(contract_id)s
WHERE topic = %(topic)s AND kafka_partition = %(partition)s
