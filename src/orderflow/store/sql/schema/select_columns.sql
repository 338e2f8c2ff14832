-- Read the columns of these tables.
SELECT table_name, column_name, data_type, column_type, character_set_name, character_maximum_length,
       datetime_precision, collation_name, is_nullable, extra, column_default, generation_expression
FROM information_schema.columns
WHERE table_schema = %s AND table_name IN ({tables})
ORDER BY table_name, ordinal_position
