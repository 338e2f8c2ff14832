-- Set a record's reason to conflict.
UPDATE {quarantine}
SET reason = %(reason)s, detail = %(detail)s, order_id = %(order_id)s, reason_contract_id = %(reason_contract_id)s
WHERE quarantine_id = %(quarantine_id)s
