-- Read the seconds from Kafka to the table for up to 2,000 new orders.
-- Orders of the last two seconds are left out: only the fast ones among them are stored by now.
SELECT TIMESTAMPDIFF(MICROSECOND, produced_at, stored_at) / 1000000, stored_at
FROM {orders}
WHERE order_timestamp BETWEEN %(since)s AND UTC_TIMESTAMP() - INTERVAL 2 SECOND
  AND produced_at IS NOT NULL
ORDER BY order_timestamp DESC, order_id DESC
LIMIT 2000
