-- Create the ledger: how far each partition is accounted for.
CREATE TABLE IF NOT EXISTS {ledger} (
  topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition INT NOT NULL,
  topic_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  first_offset BIGINT NOT NULL COMMENT 'where the accounting begins',
  next_offset BIGINT NOT NULL COMMENT 'every record below it is accounted for',
  `stored` BIGINT NOT NULL DEFAULT 0,
  duplicates BIGINT NOT NULL DEFAULT 0,
  quarantined BIGINT NOT NULL DEFAULT 0,
  unknown_fields BIGINT NOT NULL DEFAULT 0 COMMENT 'number of fields that are not in the contract, in accepted records',
  updated_at DATETIME(6) NOT NULL,
  lost BIGINT NULL INVISIBLE COMMENT 'offsets that left the topic unread, which was accepted',
  times_rows BIGINT NOT NULL DEFAULT 0 INVISIBLE COMMENT 'how many rows times_sum covers',
  times_sum DECIMAL(40,0) NOT NULL DEFAULT 0 INVISIBLE COMMENT 'their stored_at or quarantined_at, microseconds since 1970',
  contract_id INT NOT NULL DEFAULT 0 INVISIBLE COMMENT 'contract version with which the last records were stored',
  last_offset BIGINT NOT NULL DEFAULT -1 INVISIBLE COMMENT 'the last record that a transaction accounted for, -1 for none',
  last_hash BIGINT NOT NULL DEFAULT 0 INVISIBLE COMMENT 'of its timestamp and key: shows whether Kafka still has it',
  PRIMARY KEY (topic, kafka_partition)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
