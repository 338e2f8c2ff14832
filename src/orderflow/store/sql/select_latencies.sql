-- Orders of the last two seconds are left out: of those, only the quick ones are stored yet.
SELECT TIMESTAMPDIFF(MICROSECOND, produced_at, stored_at) / 1000000, stored_at
FROM {orders}
WHERE order_timestamp BETWEEN %s AND UTC_TIMESTAMP() - INTERVAL 2 SECOND
  AND produced_at IS NOT NULL
ORDER BY order_timestamp DESC, order_id DESC
LIMIT 2000
