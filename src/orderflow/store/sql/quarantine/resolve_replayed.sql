-- Mark a record as replayed.
UPDATE {quarantine}
SET status = 'replayed', resolved_by = %(by)s, resolved_at = %(at)s, corrected_value = %(corrected)s
WHERE quarantine_id = %(quarantine_id)s
