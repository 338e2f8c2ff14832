-- Grant a user privileges on a table.
GRANT {privileges} ON {database}.{table} TO {user}
