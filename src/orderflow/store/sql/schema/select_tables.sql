-- Read which of these tables and views exist, and the engine of each (NULL for a view).
SELECT table_name, engine
FROM information_schema.tables
WHERE table_schema = %s AND table_name IN ({tables})
