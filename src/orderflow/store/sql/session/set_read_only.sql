-- Forbid writes in this session.
SET SESSION TRANSACTION READ ONLY
