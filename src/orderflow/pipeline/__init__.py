"""The sink's pipeline from the Kafka topic to MySQL: the engines, and the supervisor that keeps them running."""

# Import the MySQL client before pyarrow. After pyarrow, its C extension cannot allocate its thread-local data. The
# client then silently falls back to pure Python, which waits 40 ms in each LOAD DATA.
import orderflow.store.connection  # noqa: F401
