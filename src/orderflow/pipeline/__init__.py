"""From the topic to the store: the flow, the engines that run it, and who keeps them running."""

# Before pyarrow: behind it the MySQL client's C extension finds no room for its thread-local data. The
# pure one, which would silently stand in for it, waits 40 ms in each LOAD DATA.
import orderflow.store.connection  # noqa: F401
