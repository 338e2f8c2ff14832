GRANT {privileges} ON {database}.{table} TO {user}
