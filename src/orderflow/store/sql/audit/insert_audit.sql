-- Add the result of an audit.
INSERT INTO {audits} (audited_at, proven, records, findings, sentence)
VALUES (UTC_TIMESTAMP(6), %(proven)s, %(records)s, %(findings)s, %(sentence)s)
