-- Record that the tables have this schema version.
INSERT IGNORE INTO {schema} (version, applied_at)
VALUES ({version}, UTC_TIMESTAMP(6))
