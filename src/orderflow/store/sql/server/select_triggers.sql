-- Read the triggers of these tables.
SELECT trigger_name, event_object_table
FROM information_schema.triggers
WHERE trigger_schema = %s AND event_object_table IN ({tables})
ORDER BY 1
