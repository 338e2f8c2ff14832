-- Set the version of the contract that a locked partition's records are stored by from now on.
UPDATE {ledger}
SET contract_id = %(contract_id)s
WHERE topic = %(topic)s AND kafka_partition = %(partition)s
