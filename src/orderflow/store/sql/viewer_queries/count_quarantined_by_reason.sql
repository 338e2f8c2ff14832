-- Count the open records of the quarantine by reason.
SELECT reason, COUNT(*)
FROM {quarantine}
WHERE status = 'open'
GROUP BY reason
ORDER BY 2 DESC, 1
