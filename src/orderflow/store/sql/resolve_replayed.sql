UPDATE {quarantine}
SET status = 'replayed', resolved_by = %s, resolved_at = %s, mended_value = %s
WHERE quarantine_id = %s
