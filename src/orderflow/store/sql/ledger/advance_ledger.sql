-- Move positions and add to the counters of locked partitions.
-- The rows exist and are locked, so this never inserts a row.
-- A replay and an accepted loss have no last record (-1): the former one stays.
-- The counted rows have updated_at as their stored_at or quarantined_at, so times_sum adds it once for each row.
INSERT INTO {ledger} (topic, kafka_partition, topic_id, first_offset, next_offset, `stored`, duplicates, quarantined,
                      unknown_fields, lost, last_offset, last_hash, updated_at)
VALUES {rows}
ON DUPLICATE KEY UPDATE
  next_offset = VALUES(next_offset),
  `stored` = `stored` + VALUES(`stored`),
  duplicates = duplicates + VALUES(duplicates),
  quarantined = quarantined + VALUES(quarantined),
  unknown_fields = unknown_fields + VALUES(unknown_fields),
  lost = lost + VALUES(lost),
  last_hash = IF(VALUES(last_offset) < 0, last_hash, VALUES(last_hash)),
  last_offset = GREATEST(last_offset, VALUES(last_offset)),
  times_rows = times_rows + VALUES(`stored`) + VALUES(quarantined),
  times_sum = times_sum + (VALUES(`stored`) + VALUES(quarantined))
              * CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', VALUES(updated_at)) AS DECIMAL(20)),
  updated_at = VALUES(updated_at)
