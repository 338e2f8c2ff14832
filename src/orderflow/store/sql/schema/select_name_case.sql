-- Return lower_case_table_names: 0 if the case of table names matters.
SELECT @@GLOBAL.lower_case_table_names
