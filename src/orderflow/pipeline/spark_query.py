"""The Spark engine's two kinds of query: micro-batches, and Real-Time Mode."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orderflow.errors import Interrupted, JvmExited, SparkUnavailable
from orderflow.pipeline.spark_driver import STOP_TIMEOUT, SparkDriver
from orderflow.settings import Settings
from orderflow.spark import read_records, realtime, write_orders
from orderflow.spark.options import offsets_json
from orderflow.telemetry.query_progress import QueryProgress
from orderflow.topic import TopicInfo

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery
    from pyspark.sql.streaming.readwriter import DataStreamWriter

# How long Spark waits for a broker. Then the query ends, and the supervisor reports that it waits for Kafka.
_KAFKA_TIMEOUT = 15_000  # milliseconds
# In Real-Time Mode, Spark does not detect that a worker died with records if their partition becomes idle.
_REALTIME_STALL = 15.0  # seconds
_LAST_CALL_TIMEOUT = 10.0  # seconds that the JVM may take for the last answer of `drain`
_FIRST_COMMIT_TIMEOUT = 60.0  # seconds from a query's start to its first commit on a busy machine, at most


class _Query:
    """A running StreamingQuery. Each call of the JVM has a time limit."""

    def __init__(self, driver: SparkDriver, query: StreamingQuery) -> None:
        self._driver, self._query = driver, query

    def has_ended(self, seconds: float) -> bool:
        """Wait up to `seconds` for the query's end. Return whether it has ended.

        Raises the error that made it fail.
        """
        with self._driver.limited_call():
            return bool(self._query.awaitTermination(seconds))  # type: ignore[arg-type]

    def activity(self) -> str:
        """Spark's description of the current activity."""
        with self._driver.limited_call():
            return str(self._query.status["message"])

    def progress(self) -> QueryProgress | None:
        """Return the last batch that Spark reported."""
        with self._driver.limited_call():
            progress: Any = self._query.lastProgress
        return QueryProgress.from_spark(progress) if progress else None

    def stop(self) -> None:
        """Stop the query. Raises SparkUnavailable if it does not stop in time."""
        try:
            with self._driver.limited_call(STOP_TIMEOUT, is_stop=True):
                self._query.stop()
        except JvmExited:
            raise
        except Interrupted as error:  # for example, the query waits for a broker that is down
            raise SparkUnavailable(f"Spark's query has not stopped yet. {error.message}") from error


class MicroBatchQuery(_Query):
    """A query that stores a batch of records at a time."""

    @classmethod
    def start(
        cls,
        driver: SparkDriver,
        spark: SparkSession,
        settings: Settings,
        topic_info: TopicInfo,
        positions: Mapping[int, int],
        *,
        once: bool,
    ) -> Self:
        """Start a query at `positions`; with `once`, it ends after the topic's current records."""
        options: dict[str, Any] = {
            "maxOffsetsPerTrigger": settings.max_offsets_per_trigger,
            "kafkaConsumer.pollTimeoutMs": _KAFKA_TIMEOUT,
            "fetchOffset.numRetries": 1,  # a query cannot be stopped while it retries
            # A task's read may wait for a fetch that the previous task left at the broker: 500 ms by default.
            "kafka.fetch.max.wait.ms": 10,
            "kafka.default.api.timeout.ms": _KAFKA_TIMEOUT,
            "kafka.request.timeout.ms": _KAFKA_TIMEOUT,
        }
        records = read_records(spark, settings, **_start_options(topic_info, positions), **options)
        writer = _stream_writer(records, settings, topic_info, driver.scratch)
        interval = settings.sink_trigger if settings.trigger_interval else "0 seconds"
        writer = writer.trigger(availableNow=True) if once else writer.trigger(processingTime=interval)
        return cls(driver, writer.start())

    def stall_timeout(self, default: float) -> float:
        """Return the seconds without progress after which the query is restarted."""
        return default

    def drain(self, seconds: float) -> None:
        """Wait up to `seconds` for the end of the current batch."""
        deadline = time.monotonic() + seconds
        with self._driver.limited_call(seconds + _LAST_CALL_TIMEOUT, is_stop=True):
            before = self._batch_id()
            while time.monotonic() < deadline and self._query.isActive:
                if not self._query.status["isDataAvailable"] or self._batch_id() != before:
                    return
                time.sleep(0.01)

    def _batch_id(self) -> int:
        progress: Any = self._query.lastProgress
        return int(progress["batchId"]) if progress else -1


class RealtimeQuery(_Query):
    """A query that stores each record when it arrives."""

    def __init__(self, driver: SparkDriver, query: StreamingQuery, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        super().__init__(driver, query)
        self._clock, self._started_at = clock, clock()

    @classmethod
    def start(
        cls,
        driver: SparkDriver,
        spark: SparkSession,
        settings: Settings,
        topic_info: TopicInfo,
        positions: Mapping[int, int],
        *,
        batch: str,
    ) -> Self:
        """Start a query at `positions`. `batch` is the length of a batch, as Spark writes intervals."""
        realtime.clear_failures(driver.scratch)
        records = read_records(driver.realtime_session(spark), settings, **_start_options(topic_info, positions))
        writer = _stream_writer(records, settings, topic_info, driver.scratch, realtime=True)
        return cls(driver, realtime.with_trigger(writer, spark, batch).start())

    @staticmethod
    def unsupported_reason(spark: SparkSession, topic_info: TopicInfo) -> str:
        """Return why the platform does not support Real-Time Mode; empty if it does."""
        slots, needed = spark.sparkContext.defaultParallelism, len(topic_info.partitions) + 1
        if tuple(map(int, spark.version.split(".")[:2])) < (4, 1):
            return f"Spark is {spark.version}, not 4.1 or newer"
        if spark.sparkContext.getConf().get(realtime.ALLOW_LIST, "false") == "true":
            return f"{realtime.ALLOW_LIST} is true, and the allowlist contains no Python function"
        if slots < needed:
            return (
                f"{len(topic_info.partitions)} partitions need {needed} task slots, and Spark has {slots}"
                f" (--master local[{needed}], or more executors)"
            )
        return ""

    def has_ended(self, seconds: float) -> bool:
        if failure := realtime.read_failure(self._driver.scratch):
            raise failure
        return super().has_ended(seconds)

    def stall_timeout(self, default: float) -> float:
        """Return the seconds without progress after which the query is restarted."""
        return _REALTIME_STALL if self._clock() - self._started_at > _FIRST_COMMIT_TIMEOUT else default

    def drain(self, seconds: float) -> None:
        """Do nothing: a batch lasts a minute, and uncommitted records are read again."""


def _start_options(topic_info: TopicInfo, positions: Mapping[int, int]) -> dict[str, Any]:
    assigned = json.dumps({topic_info.name: sorted(positions)})
    return {"assign": assigned, "startingOffsets": offsets_json(topic_info.name, positions)}


def _stream_writer(
    records: DataFrame, settings: Settings, topic_info: TopicInfo, scratch: Path, *, realtime: bool = False
) -> DataStreamWriter:
    # A URI, because HADOOP_CONF_DIR may set another default file system.
    checkpoint = Path(tempfile.mkdtemp(prefix="checkpoint-", dir=scratch)).as_uri()
    writer = write_orders(records, settings, scratch=scratch, check_gaps=False, realtime=realtime)
    configured: DataStreamWriter = writer.queryName(f"orderflow: {topic_info.name}").option(
        "checkpointLocation", checkpoint
    )
    return configured
