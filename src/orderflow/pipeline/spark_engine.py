"""The Spark engine: a streaming query that reads with Spark's Kafka source and stores in Python workers."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orderflow.errors import Interrupted, JvmExited, SparkUnavailable
from orderflow.metrics.query_progress import QueryProgress
from orderflow.pipeline.engine import STALL_TIMEOUT, DamagedPartition, run_in_thread
from orderflow.pipeline.jvm_watchdog import CALL_TIMEOUT, JvmWatchdog
from orderflow.pipeline.spark_unreadable import UnreadableRecords
from orderflow.pipeline.trigger_mode import TriggerMode
from orderflow.settings import Settings
from orderflow.spark import read_records, realtime, session, write_orders
from orderflow.spark.failures import first_line, translate_errors
from orderflow.spark.options import offsets_json
from orderflow.spark.session import Runtime
from orderflow.topic import TopicInfo

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery
    from pyspark.sql.streaming.readwriter import DataStreamWriter

log = logging.getLogger(__name__)

_REGISTRATION_TIMEOUT = 10.0  # seconds to wait for the first executor
_EXECUTOR_INTERVAL = 5.0  # seconds between two checks of the executors
# How long Spark waits for a broker. Then the query ends, and the supervisor reports that it waits for Kafka.
_KAFKA_TIMEOUT = 15_000  # milliseconds
# In Real-Time Mode, Spark does not detect that a worker died with records if their partition becomes idle.
_REALTIME_STALL = 15.0  # seconds
_POLL_INTERVAL = 0.25  # seconds between two checks whether a stop is requested
_STOP_TIMEOUT = 45.0  # seconds that Spark may take to stop a query or itself; spark.sql.streaming.stopTimeout is 30 s
_QUERY_START_TIMEOUT = 180.0  # seconds
_JVM_START_TIMEOUT = 10.0  # seconds that a stop waits for a JVM that is still starting
_START_TIME = 60.0  # seconds from a query's start to its first commit on a busy machine, at most


class SparkEngine:
    """Stores records with a Spark query; see Engine. Each start takes its offsets from the ledger.

    Spark's checkpoint is therefore only a scratch file.
    """

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        *,
        stall_timeout: float = STALL_TIMEOUT,
        realtime_batch: str = realtime.BATCH,
    ) -> None:
        """`stall_timeout` is in seconds, without the trigger's interval; see Engine.stall_timeout.

        `realtime_batch` is the length of a batch of Real-Time Mode, as Spark writes intervals.
        """
        self._settings = settings
        self._runtime = runtime
        self._stall_timeout = stall_timeout
        self._realtime_batch = realtime_batch
        self._scratch: Path
        self._stop_event: threading.Event
        self._watchdog: JvmWatchdog | None = None  # None until `open`
        self._session: Future[SparkSession]
        self._query: StreamingQuery | None = None  # None if no partition can be read
        self._executors_checked_at = self._started_at = 0.0
        self._executors = 0, 0  # executors and task slots
        self._unreadable = UnreadableRecords(settings)
        self._is_once = False
        self._mode = TriggerMode(settings.sink_trigger)
        self._is_realtime = self._is_switching_to_micro_batches = False
        self._realtime_session: SparkSession | None = None

    def open(self, scratch: Path, stop_event: threading.Event) -> None:
        """Start the JVM without waiting for it. It ends with this process, so errors elsewhere need not wait for it."""
        self._scratch, self._stop_event = scratch, stop_event
        if not self._watchdog and not session.is_submitted():  # otherwise the JVM is not this process's
            self._watchdog = JvmWatchdog(session.kill_jvm, stop_event)
        self._session = run_in_thread("spark-start", lambda: session.start(self._runtime, scratch))

    def start(
        self, info: TopicInfo, positions: Mapping[int, int], end_offsets: Mapping[int, int], *, once: bool
    ) -> None:
        spark = self._ready_session()
        self._end_former_query()
        if self._is_realtime and not self._is_switching_to_micro_batches:
            self._mode.mark_failed()
        self._is_once = once
        positions = self._unreadable.store_without_spark(
            spark, info, positions, end_offsets, scratch=self._scratch, stop_event=self._stop_event
        )
        lag = sum(max(0, end_offsets[partition] - position) for partition, position in positions.items())
        self._is_realtime = not once and self._mode.wants_realtime(lag) and self._check_realtime_support(spark, info)
        self._is_switching_to_micro_batches, self._started_at = False, time.monotonic()
        with self._limited_call(_QUERY_START_TIMEOUT):
            if self._settings.sink_trigger in ("realtime", "auto"):
                for name, value in realtime.SHARED_OPTIONS.items():
                    spark.conf.set(name, value)
            if not positions:
                self._query = None
            elif self._is_realtime:
                self._start_realtime(spark, info, positions)
                log.info("Real-Time Mode: each record is stored when it arrives.")
            else:
                writer = self._writer(self._records(spark, info, positions), info)
                writer = writer.trigger(availableNow=True) if once else writer.trigger(processingTime=self._interval)
                self._query = writer.start()
        self._mode.mark_started(realtime=self._is_realtime)

    def _end_former_query(self) -> None:
        """Repeat the stop of a query that timed out: while its thread runs, Spark refuses another query of its name.

        Raises JvmExited if it times out again. Kafka's admin client can wait forever in its `close`.
        """
        try:
            self.stop()
        except SparkUnavailable as stuck:
            raise JvmExited("Spark's query does not stop, so its JVM is replaced.") from stuck

    def _writer(self, records: DataFrame, info: TopicInfo) -> DataStreamWriter:
        writer = write_orders(
            records, self._settings, scratch=self._scratch, is_whole_topic=True, realtime=self._is_realtime
        )
        writer = writer.queryName(f"orderflow: {info.name}")
        configured: DataStreamWriter = writer.option("checkpointLocation", self._new_checkpoint())
        return configured

    def _start_realtime(self, spark: SparkSession, info: TopicInfo, positions: Mapping[int, int]) -> None:
        realtime.clear_failures(self._scratch)
        if self._realtime_session is None:
            self._realtime_session = realtime.realtime_session(spark)
        offsets = offsets_json(info.name, positions)
        records = read_records(
            self._realtime_session, self._settings, startingOffsets=offsets, assign=_assigned(info, positions)
        )
        self._query = realtime.with_trigger(self._writer(records, info), spark, self._realtime_batch).start()

    def _check_realtime_support(self, spark: SparkSession, info: TopicInfo) -> bool:
        """Whether the platform supports Real-Time Mode; if not, log the reason."""
        slots, needed = spark.sparkContext.defaultParallelism, len(info.partitions) + 1
        reason = ""
        if tuple(map(int, spark.version.split(".")[:2])) < (4, 1):
            reason = f"Spark is {spark.version}, not 4.1 or newer"
        elif spark.sparkContext.getConf().get(realtime.ALLOW_LIST, "false") == "true":
            reason = f"{realtime.ALLOW_LIST} is true, and the allowlist contains no Python function"
        elif slots < needed:
            reason = (
                f"{len(info.partitions)} partitions need {needed} task slots, and Spark has {slots}"
                f" (--master local[{needed}], or more executors)"
            )
        if reason:
            self._mode.mark_unsupported()
            log.warning("Real-Time Mode is not possible: %s. Using micro-batches.", reason)
        return not reason

    @property
    def _interval(self) -> str:
        return self._settings.sink_trigger if self._settings.trigger_interval else "0 seconds"

    def _records(self, spark: SparkSession, info: TopicInfo, positions: Mapping[int, int]) -> DataFrame:
        options: dict[str, Any] = {
            "assign": _assigned(info, positions),
            "startingOffsets": offsets_json(info.name, positions),
            "maxOffsetsPerTrigger": self._settings.max_offsets_per_trigger,
            "kafkaConsumer.pollTimeoutMs": _KAFKA_TIMEOUT,
            "fetchOffset.numRetries": 1,  # a query cannot be stopped while it retries
            # A task's read may wait for a fetch that the previous task left at the broker: 500 ms by default.
            "kafka.fetch.max.wait.ms": 10,
            "kafka.default.api.timeout.ms": _KAFKA_TIMEOUT,
            "kafka.request.timeout.ms": _KAFKA_TIMEOUT,
        }
        return read_records(spark, self._settings, **options)

    def _new_checkpoint(self) -> str:
        """Create a checkpoint folder. It is a URI, because HADOOP_CONF_DIR may set another default file system."""
        return Path(tempfile.mkdtemp(prefix="checkpoint-", dir=self._scratch)).as_uri()

    def _ready_session(self) -> SparkSession:
        """Return the Spark session, on a cluster with at least one executor.

        Raises SparkUnavailable and JvmExited.
        """
        # While its thread imports pyspark, another thread cannot.
        while not futures.wait([self._session], _POLL_INTERVAL).done:
            if self._stop_event.is_set():
                raise Interrupted("A stop was requested while Spark started.")
        with self._limited_call(_QUERY_START_TIMEOUT):
            try:
                spark = self._running_session()
            except OSError as error:
                if not isinstance(error, ConnectionError):  # the machine was short of something: start the JVM again
                    self.open(self._scratch, self._stop_event)
                raise
        if self._runtime.is_on_cluster:
            self._check_executors()
        return spark

    def _running_session(self) -> SparkSession:
        from py4j.protocol import Py4JJavaError

        try:
            spark = self._session.result()
            if spark.sparkContext._jsc.sc().isStopped():  # the cluster has stopped it
                spark.stop()
                self._realtime_session = None
                self.open(self._scratch, self._stop_event)
                spark = self._session.result()
        except Py4JJavaError as error:
            self.open(self._scratch, self._stop_event)
            reason = first_line(str(error.java_exception))
            raise SparkUnavailable(f"Spark at {self._runtime.master} does not answer: {reason}") from error
        if self._runtime.ui and spark.sparkContext.uiWebUrl:
            log.info("Spark's web UI at %s/StreamingQuery/", spark.sparkContext.uiWebUrl)
        # Plans apply the session's redaction setting only in a thread in which the session is active.
        jvm: Any = spark._jvm
        of_jvm = spark._get_j_spark_session_class(jvm) if session.version() >= (4, 0) else jvm.SparkSession
        of_jvm.setActiveSession(spark._jsparkSession)
        # If spark-submit has started Spark, it has set the master.
        self._runtime = self._runtime._replace(master=str(spark.sparkContext.master))
        return spark

    def _check_executors(self) -> None:
        """Raises SparkUnavailable if no executor registers in time."""
        self._executors_checked_at = time.monotonic()
        context = self._session.result().sparkContext
        deadline = time.monotonic() + _REGISTRATION_TIMEOUT
        with self._limited_call(_REGISTRATION_TIMEOUT + CALL_TIMEOUT):
            # The driver is counted too.
            while (executors := context._jsc.sc().getExecutorMemoryStatus().size() - 1) < 1:
                if time.monotonic() > deadline:
                    raise SparkUnavailable(
                        f"Spark at {self._runtime.master} has no executor for the sink.",
                        hint="Check that a worker runs there with a free core and 1 GB of free memory.",
                    )
                time.sleep(0.1)
            slots = context.defaultParallelism
        if (executors, slots) != self._executors:
            self._executors = executors, slots
            log.info(
                "Spark at %s: %d executors with %d task slots; each slot uses at most one connection to MySQL.",
                self._runtime.master,
                executors,
                slots,
            )

    def wait(self, seconds: float) -> bool:
        if self._runtime.is_on_cluster and time.monotonic() - self._executors_checked_at > _EXECUTOR_INTERVAL:
            self._check_executors()
        if self._query is None:
            time.sleep(seconds)
        elif not self._has_ended(self._query, seconds):
            return False
        if self._is_once and (damaged := self._unreadable.damaged):
            raise next(iter(damaged.values())).error
        return self._query is not None

    def _has_ended(self, query: StreamingQuery, seconds: float) -> bool:
        try:
            with self._limited_call():
                if self._is_realtime and (failure := realtime.read_failure(self._scratch)):
                    raise failure
                return bool(query.awaitTermination(seconds))  # type: ignore[arg-type]
        except Interrupted:
            self._unreadable.must_search = True
            raise

    def damaged_partitions(self) -> Mapping[int, DamagedPartition]:
        return self._unreadable.damaged

    def activity(self) -> str:
        with self._limited_call():
            return str(self._query.status["message"]) if self._query else "no partition can be read"

    def stall_timeout(self) -> float:
        is_running = time.monotonic() - self._started_at > _START_TIME
        timeout = _REALTIME_STALL if self._is_realtime and is_running else self._stall_timeout
        return timeout + self._settings.trigger_interval

    def check_lag(self, lag: int) -> bool:
        if self._is_once:
            return True
        fits = self._mode.check_lag(lag)
        if self._is_realtime and not fits:
            self._is_switching_to_micro_batches = True
            log.info("Switching to micro-batches, because %d records wait.", lag)
        return fits and not self._unreadable.probe_damaged_partitions()

    def progress(self) -> QueryProgress | None:
        with self._limited_call():
            progress: Any = self._query and self._query.lastProgress
        return QueryProgress.from_spark(progress) if progress else None

    def drain(self, seconds: float) -> None:
        query, deadline = self._query, time.monotonic() + seconds
        if query is None or self._is_realtime:  # a batch lasts a minute; uncommitted records are read again
            return
        with self._limited_call(seconds + CALL_TIMEOUT, is_stop=True):
            before = _batch_id(query)
            while time.monotonic() < deadline and query.isActive:
                if not query.status["isDataAvailable"] or _batch_id(query) != before:
                    return
                time.sleep(0.01)

    def stop(self) -> None:
        if self._query is None:
            return
        try:
            with self._limited_call(_STOP_TIMEOUT, is_stop=True):
                self._query.stop()
        except JvmExited:
            raise
        except Interrupted as error:  # for example, the query waits for a broker that is down
            raise SparkUnavailable(f"Spark's query has not stopped yet. {error.message}") from error

    def close(self) -> None:
        if not futures.wait([self._session], _JVM_START_TIMEOUT).done:
            session.kill_jvm()
            return
        if self._session.exception():  # perhaps because the stop was requested meanwhile
            return
        from py4j.protocol import Py4JError

        # A signal to the whole process group may have ended the JVM.
        with suppress(JvmExited, Py4JError, ConnectionError), self._limited_call(_STOP_TIMEOUT, is_stop=True):
            session.stop(self._session.result())

    @contextmanager
    def _limited_call(self, seconds: float = CALL_TIMEOUT, *, is_stop: bool = False) -> Iterator[None]:
        """Translate the errors of calls of the JVM. A JVM that does not answer for so long is ended."""
        limit = self._watchdog.limit(seconds, is_stop=is_stop) if self._watchdog else nullcontext()
        with translate_errors(), limit:
            yield


def _assigned(info: TopicInfo, partitions: Iterable[int]) -> str:
    """The Kafka source's option `assign` with these partitions."""
    return json.dumps({info.name: sorted(partitions)})


def _batch_id(query: StreamingQuery) -> int:
    progress: Any = query.lastProgress
    return int(progress["batchId"]) if progress else -1
