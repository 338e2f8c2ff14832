-- Create the table of schema versions.
CREATE TABLE IF NOT EXISTS {schema} (
  version INT NOT NULL COMMENT 'the highest one is that of the tables',
  applied_at DATETIME(6) NOT NULL COMMENT 'UTC',
  PRIMARY KEY (version)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
