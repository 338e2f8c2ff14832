SELECT status
FROM {quarantine}
WHERE quarantine_id = %s
FOR UPDATE
