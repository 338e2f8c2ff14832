UPDATE {quarantine}
SET reason = %s, detail = %s, order_id = %s
WHERE quarantine_id = %s
