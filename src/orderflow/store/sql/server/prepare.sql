-- Make the server check a statement and this user's privileges without executing the statement.
PREPARE asked FROM %(statement)s
