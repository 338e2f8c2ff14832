-- Create the table of offsets whose loss was accepted.
CREATE TABLE IF NOT EXISTS {losses} (
  topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  topic_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition INT NOT NULL,
  first_offset BIGINT NOT NULL,
  end_offset BIGINT NOT NULL COMMENT 'the first one that was not lost',
  accepted_at DATETIME(6) NOT NULL,
  accepted_by VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL,
  PRIMARY KEY (topic, kafka_partition, first_offset)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
