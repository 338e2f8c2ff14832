"""Spark's driver: its JVM and session from start to stop, the cluster's executors, and a time limit for each call."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orderflow.errors import JvmExited, SparkUnavailable, Unavailable
from orderflow.pipeline.engine import run_in_thread, wait_unless_stopped
from orderflow.pipeline.jvm_watchdog import CALL_TIMEOUT, JvmWatchdog
from orderflow.spark import realtime, session
from orderflow.spark.failures import first_line, translate_errors
from orderflow.spark.session import Runtime

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

START_TIMEOUT = 180.0  # seconds that Spark may take to start a session or a query
STOP_TIMEOUT = 45.0  # seconds that Spark may take to stop a query or itself; spark.sql.streaming.stopTimeout is 30 s


class SparkDriver:
    """Starts Spark in a thread, replaces a session that the cluster has stopped, and stops Spark."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        close_timeout: float = 10.0,
        registration_timeout: float = 10.0,
        executor_interval: float = 5.0,
    ) -> None:
        """All times are in seconds.

        `close` waits for `close_timeout` for a JVM that is still starting. The first executor has
        `registration_timeout` to register. A running query's executors are checked every `executor_interval`.
        """
        self.scratch: Path
        self.stop_event: threading.Event
        self._runtime = runtime
        self._close_timeout = close_timeout
        self._registration_timeout = registration_timeout
        self._executor_interval = executor_interval
        self._watchdog: JvmWatchdog | None = None  # None until `open`
        self._session: Future[SparkSession]
        self._realtime_session: SparkSession | None = None
        self._executors_checked_at = 0.0
        self._executors = 0, 0  # executors and task slots

    def open(self, scratch: Path, stop_event: threading.Event) -> None:
        """Begin to start the JVM, and return at once. It ends with this process, so no error has to wait for it."""
        self.scratch, self.stop_event = scratch, stop_event
        if not self._watchdog and not session.is_submitted():  # otherwise the JVM is not this process's
            self._watchdog = JvmWatchdog(session.kill_jvm, stop_event)
        self._start_session()

    def _start_session(self) -> None:
        self._realtime_session = None
        self._session = run_in_thread("spark-start", lambda: session.start(self._runtime, self.scratch))

    def ready_session(self) -> SparkSession:
        """Return the Spark session, on a cluster with at least one executor.

        Raises SparkUnavailable, JvmExited, and StopRequested.
        """
        # Wait first: two threads must not import pyspark at the same time.
        wait_unless_stopped(self._session, self.stop_event, "Spark started")
        with self.limited_call(START_TIMEOUT):
            try:
                spark = self._running_session()
            except OSError as error:
                if not isinstance(error, ConnectionError):  # the machine was short of something
                    self._start_session()
                raise
        if self._runtime.is_on_cluster:
            self._check_executors()
        return spark

    def realtime_session(self, spark: SparkSession) -> SparkSession:
        """Return the session for Real-Time Mode, which belongs to the same application as `spark`."""
        if self._realtime_session is None:
            self._realtime_session = realtime.realtime_session(spark)
        return self._realtime_session

    def _running_session(self) -> SparkSession:
        from py4j.protocol import Py4JJavaError

        try:
            spark = self._session.result()
            if spark.sparkContext._jsc.sc().isStopped():  # the cluster has stopped it
                spark.stop()
                self._start_session()
                spark = self._session.result()
        except Py4JJavaError as error:
            self._start_session()
            reason = first_line(str(error.java_exception))
            raise SparkUnavailable(f"Spark at {self._runtime.master} does not answer: {reason}") from error
        if self._runtime.ui and spark.sparkContext.uiWebUrl:
            log.info("Spark's web UI at %s/StreamingQuery/", spark.sparkContext.uiWebUrl)
        # Plans apply the session's redaction setting only in a thread in which the session is active.
        jvm: Any = spark._jvm
        session_class = spark._get_j_spark_session_class(jvm) if session.version() >= (4, 0) else jvm.SparkSession
        session_class.setActiveSession(spark._jsparkSession)
        # If spark-submit has started Spark, it has set the master.
        self._runtime = self._runtime._replace(master=str(spark.sparkContext.master))
        return spark

    def check_executors_if_due(self) -> None:
        """Check a cluster's executors, if the last check is long ago. Raises SparkUnavailable if there is none."""
        if self._runtime.is_on_cluster and time.monotonic() - self._executors_checked_at > self._executor_interval:
            self._check_executors()

    def _check_executors(self) -> None:
        """Check that the cluster has an executor. Raises SparkUnavailable if none registers in time."""
        self._executors_checked_at = time.monotonic()
        context = self._session.result().sparkContext
        deadline = time.monotonic() + self._registration_timeout
        with self.limited_call(self._registration_timeout + CALL_TIMEOUT):
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

    def close(self) -> None:
        """Stop Spark and its JVM."""
        if not futures.wait([self._session], self._close_timeout).done:
            session.kill_jvm()
            return
        if self._session.exception():  # perhaps because the stop was requested meanwhile
            return
        try:
            with self.limited_call(STOP_TIMEOUT, is_stop=True):
                session.stop(self._session.result())
        except JvmExited:  # perhaps a signal to the whole process group has ended it
            pass
        except Unavailable as error:  # the JVM ends with this process
            log.warning("Spark has not stopped cleanly. %s", error.message)

    @contextmanager
    def limited_call(self, seconds: float = CALL_TIMEOUT, *, is_stop: bool = False) -> Iterator[None]:
        """Translate the errors of calls of the JVM. Kill the JVM if the block takes longer than `seconds`."""
        limit = self._watchdog.limit(seconds, is_stop=is_stop) if self._watchdog else nullcontext()
        with translate_errors(), limit:
            yield
