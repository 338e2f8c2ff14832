-- The rows are there, and locked: what is inserted otherwise never is.
INSERT INTO {ledger} (topic, kafka_partition, topic_id, first_offset, next_offset, `stored`, duplicates, quarantined,
                      unknown_fields, updated_at)
VALUES {rows}
ON DUPLICATE KEY UPDATE
  next_offset = VALUES(next_offset),
  `stored` = `stored` + VALUES(`stored`),
  duplicates = duplicates + VALUES(duplicates),
  quarantined = quarantined + VALUES(quarantined),
  unknown_fields = unknown_fields + VALUES(unknown_fields),
  updated_at = VALUES(updated_at)
