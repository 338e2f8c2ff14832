-- Count the chunks that the quarantine's rows list, and those that exist.
SELECT (SELECT COALESCE(SUM(chunks), 0) FROM {quarantine}), (SELECT COUNT(*) FROM {chunks})
