-- Read the result of the newest audit.
SELECT audited_at, proven, records, findings, sentence
FROM {audits}
ORDER BY audit_id DESC
LIMIT 1
