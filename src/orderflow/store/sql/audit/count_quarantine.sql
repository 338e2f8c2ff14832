-- Count the quarantined records.
SELECT COUNT(*)
FROM {quarantine}
