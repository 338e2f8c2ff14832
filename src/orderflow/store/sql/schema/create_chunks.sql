-- Create the table for the rest of records that are larger than a packet of the server.
CREATE TABLE IF NOT EXISTS {chunks} (
  topic_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition INT NOT NULL,
  kafka_offset BIGINT NOT NULL,
  field ENUM('record_key', 'record_value', 'record_headers') NOT NULL COMMENT 'of {quarantine}, which has its beginning',
  chunk_index INT NOT NULL,
  bytes LONGBLOB NOT NULL,
  PRIMARY KEY (topic_id, kafka_partition, kafka_offset, field, chunk_index)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
