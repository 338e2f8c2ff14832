SELECT record_key, record_value, CAST(record_headers AS BINARY), mended_value
FROM {quarantine}
WHERE quarantine_id = %s
