-- Return the schema version of the tables; 0 if none is recorded.
SELECT COALESCE(MAX(version), 0)
FROM {database}.{schema}
