-- Wait for a named lock, and acquire it.
SELECT GET_LOCK(%(name)s, %(seconds)s)
