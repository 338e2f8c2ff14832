-- Mark the open ones of these records as discarded.
UPDATE {quarantine}
SET status = 'discarded', resolved_by = %s, resolved_at = UTC_TIMESTAMP(6), resolved_because = %s
WHERE quarantine_id IN ({ids}) AND status = 'open'
