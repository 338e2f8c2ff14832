-- Lock a record until the transaction ends, and read its status.
SELECT status
FROM {quarantine}
WHERE quarantine_id = %(quarantine_id)s
FOR UPDATE
