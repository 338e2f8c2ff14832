-- Create the table of the contract's versions. Version 0, the default contract, has no row.
CREATE TABLE IF NOT EXISTS {contracts} (
  contract_id INT NOT NULL,
  contract MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'JSON',
  added_at DATETIME(6) NOT NULL COMMENT 'UTC',
  PRIMARY KEY (contract_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
