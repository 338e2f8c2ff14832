-- The session that holds a named lock; NULL if there is none.
SELECT IS_USED_LOCK(%(name)s)
