-- Drop the benchmark's database.
DROP DATABASE IF EXISTS {database}
