-- Create the database.
CREATE DATABASE IF NOT EXISTS {database} CHARACTER SET utf8mb4
