SELECT COUNT(*)
FROM {quarantine}
