-- Select the database for the statements that follow.
USE {database}
