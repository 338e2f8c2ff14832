-- Mark a record as replayed.
UPDATE {quarantine}
SET status = 'replayed', resolved_by = %(by)s, resolved_at = %(at)s, corrected_value = %(corrected)s,
    contract_id = %(contract_id)s
WHERE quarantine_id = %(quarantine_id)s
