-- Read orders of a customer, the highest order_id first.
-- This is the order of the index: sorting a large customer's orders by time would read all of them.
SELECT {standard_names}, kafka_partition, kafka_offset, produced_at, stored_at
FROM {orders}
WHERE customer_id = %(customer_id)s
ORDER BY order_id DESC
LIMIT %(count)s
