-- Create the table of offsets from which each version of the contract holds.
CREATE TABLE IF NOT EXISTS {contract_starts} (
  topic_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition INT NOT NULL,
  first_offset BIGINT NOT NULL,
  contract_id INT NOT NULL,
  PRIMARY KEY (topic_id, kafka_partition, first_offset)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
