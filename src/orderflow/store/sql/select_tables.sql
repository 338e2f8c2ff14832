SELECT table_name, engine
FROM information_schema.tables
WHERE table_schema = %s AND table_name IN ({tables})
