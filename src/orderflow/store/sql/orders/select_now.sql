-- Return the server's time (UTC), which becomes the orders' stored_at.
SELECT UTC_TIMESTAMP(6)
