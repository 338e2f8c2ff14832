-- Read a record as it arrived, and the value that was replayed in its place.
SELECT record_key, record_value, CAST(record_headers AS BINARY), corrected_value
FROM {quarantine}
WHERE quarantine_id = %(quarantine_id)s
