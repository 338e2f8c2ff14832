-- Create the table of audit results.
CREATE TABLE IF NOT EXISTS {audits} (
  audit_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  audited_at DATETIME(6) NOT NULL COMMENT 'its end, UTC',
  proven BOOLEAN NOT NULL,
  records BIGINT NOT NULL COMMENT 'of the topic',
  findings BIGINT NOT NULL,
  sentence TEXT CHARACTER SET utf8mb4 NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
