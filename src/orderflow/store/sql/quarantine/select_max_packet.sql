-- Return the size of the largest packet that the server accepts from this session.
SELECT @@SESSION.max_allowed_packet
