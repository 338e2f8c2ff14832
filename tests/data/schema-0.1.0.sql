-- The tables and views as version 0.1.0 of OrderFlow creates them, for MYSQL_TABLE=orders.

CREATE TABLE IF NOT EXISTS `orders` (
  customer_id INT NOT NULL,
  order_id VARCHAR(50) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  product_name VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL,
  product_category VARCHAR(100) CHARACTER SET utf8mb4 NOT NULL,
  unit_price DECIMAL(10,2) NOT NULL,
  quantity INT NOT NULL,
  total_price DECIMAL(10,2) NOT NULL,
  order_timestamp DATETIME NOT NULL,
  kafka_partition INT NULL INVISIBLE,
  kafka_offset BIGINT NULL INVISIBLE,
  produced_at DATETIME(3) NULL INVISIBLE,
  stored_at DATETIME(6) NULL INVISIBLE,
  PRIMARY KEY (order_id),
  INDEX idx_customer (customer_id),
  INDEX idx_timestamp (order_timestamp)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS `orders_ledger` (
  topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition INT NOT NULL,
  topic_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  first_offset BIGINT NOT NULL COMMENT 'where the accounting begins',
  next_offset BIGINT NOT NULL COMMENT 'every record below it is accounted for',
  `stored` BIGINT NOT NULL DEFAULT 0,
  duplicates BIGINT NOT NULL DEFAULT 0,
  quarantined BIGINT NOT NULL DEFAULT 0,
  unknown_fields BIGINT NOT NULL DEFAULT 0 COMMENT 'fields the contract does not know, in records that were stored all the same',
  updated_at DATETIME(6) NOT NULL,
  PRIMARY KEY (topic, kafka_partition)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS `orders_quarantine` (
  quarantine_id BIGINT NOT NULL AUTO_INCREMENT,
  topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  topic_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition INT NOT NULL,
  kafka_offset BIGINT NOT NULL,
  record_key LONGBLOB NULL,
  record_value LONGBLOB NULL,
  record_headers LONGTEXT CHARACTER SET ascii NULL COMMENT 'JSON: a list of [name, value in base64]',
  produced_at DATETIME(3) NULL,
  quarantined_at DATETIME(6) NOT NULL,
  reason VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  detail TEXT CHARACTER SET utf8mb4 NOT NULL,
  order_id VARCHAR(50) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'where the record could be read',
  status ENUM('open', 'replayed', 'discarded') NOT NULL DEFAULT 'open',
  resolved_by VARCHAR(255) CHARACTER SET utf8mb4 NULL,
  resolved_at DATETIME(6) NULL,
  resolved_because VARCHAR(1000) CHARACTER SET utf8mb4 NULL COMMENT 'why it was discarded',
  mended_value LONGBLOB NULL COMMENT 'what was replayed in place of record_value',
  parts INT NOT NULL DEFAULT 0 COMMENT 'how many rows of `orders_record_parts` hold the rest of key, value and headers',
  PRIMARY KEY (quarantine_id),
  UNIQUE INDEX idx_coordinates (topic_id, kafka_partition, kafka_offset),
  INDEX idx_status (status, reason),
  INDEX idx_order (order_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS `orders_record_parts` (
  topic_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition INT NOT NULL,
  kafka_offset BIGINT NOT NULL,
  field ENUM('record_key', 'record_value', 'record_headers') NOT NULL COMMENT 'of `orders_quarantine`, which has its beginning',
  part INT NOT NULL,
  bytes LONGBLOB NOT NULL,
  PRIMARY KEY (topic_id, kafka_partition, kafka_offset, field, part)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS `orders_losses` (
  topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  topic_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition INT NOT NULL,
  first_offset BIGINT NOT NULL,
  end_offset BIGINT NOT NULL COMMENT 'the first one that was not lost',
  accepted_at DATETIME(6) NOT NULL,
  accepted_by VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL,
  PRIMARY KEY (topic, kafka_partition, first_offset)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS `orders_audits` (
  audit_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  audited_at DATETIME(6) NOT NULL COMMENT 'its end, UTC',
  proven BOOLEAN NOT NULL,
  records BIGINT NOT NULL COMMENT 'of the topic',
  findings BIGINT NOT NULL,
  sentence TEXT CHARACTER SET utf8mb4 NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS `orders_by_minute` (
  minute DATETIME NOT NULL,
  product_category VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  kafka_partition INT NOT NULL COMMENT 'so that concurrent transactions never wait on one hot row',
  orders BIGINT NOT NULL,
  units BIGINT NOT NULL,
  revenue DECIMAL(30,2) NOT NULL,
  PRIMARY KEY (minute, product_category, kafka_partition)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE OR REPLACE SQL SECURITY INVOKER VIEW `orders_per_minute` AS
SELECT minute, product_category, SUM(orders) AS orders, SUM(units) AS units, SUM(revenue) AS revenue
FROM `orders_by_minute`
GROUP BY minute, product_category;

CREATE OR REPLACE SQL SECURITY INVOKER VIEW `orders_per_day` AS
SELECT DATE(minute) AS day, product_category, SUM(orders) AS orders, SUM(units) AS units, SUM(revenue) AS revenue
FROM `orders_by_minute`
GROUP BY DATE(minute), product_category;

CREATE OR REPLACE SQL SECURITY INVOKER VIEW `orders_per_reason` AS
SELECT reason, status, COUNT(*) AS records,
       MIN(quarantined_at) AS first_quarantined_at, MAX(quarantined_at) AS last_quarantined_at
FROM `orders_quarantine`
GROUP BY reason, status;
