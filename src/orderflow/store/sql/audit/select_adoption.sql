-- Read the count and checksum of the adopted orders.
SELECT orders, row_checksum
FROM {adoption}
