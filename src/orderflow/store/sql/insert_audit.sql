INSERT INTO {audits} (audited_at, proven, records, findings, sentence)
VALUES (UTC_TIMESTAMP(6), %s, %s, %s, %s)
