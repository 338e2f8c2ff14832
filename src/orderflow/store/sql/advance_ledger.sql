UPDATE {ledger}
SET next_offset = %s,
    `stored` = `stored` + %s,
    duplicates = duplicates + %s,
    quarantined = quarantined + %s,
    unknown_fields = unknown_fields + %s,
    updated_at = UTC_TIMESTAMP(6)
WHERE topic = %s AND kafka_partition = %s
