-- Set the contract version with which a locked partition's records are stored from now on.
UPDATE {ledger}
SET contract_id = %(contract_id)s
WHERE topic = %(topic)s AND kafka_partition = %(partition)s
