-- Create the view of the quarantine by reason and status.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW {per_reason} AS
SELECT reason, status, COUNT(*) AS records,
       MIN(quarantined_at) AS first_quarantined_at, MAX(quarantined_at) AS last_quarantined_at
FROM {quarantine}
GROUP BY reason, status
