SELECT @@SESSION.max_allowed_packet
