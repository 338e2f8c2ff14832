-- Check whether the database exists.
SELECT 1 FROM information_schema.schemata WHERE schema_name = %(database)s
