"""Spark as the engine: one streaming query, from Kafka through Python workers into the store."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from orderflow.errors import Interrupted, SparkUnavailable
from orderflow.pipeline import session, sink, source
from orderflow.pipeline.engine import background
from orderflow.settings import Settings
from orderflow.topic import TopicInfo

if TYPE_CHECKING:
    from pyspark.errors.exceptions.captured import CapturedException
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

log = logging.getLogger(__name__)

_REGISTRATION = 10.0  # seconds that executors are given to come up
_LOOK = 5.0  # seconds between two looks at them


class SparkEngine:
    """See Engine."""

    def __init__(self, settings: Settings, runtime: session.Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        self._scratch: Path
        self._session: Future[SparkSession]
        self._query: StreamingQuery
        self._looked = 0.0
        self._told = 0, 0  # executors and slots

    def open(self, scratch: Path) -> None:
        """Start the JVM. An error elsewhere need not wait for it: it ends with this process."""
        self._scratch = scratch
        self._session = background("spark-start", lambda: session.start(self._runtime, scratch))

    def start(self, info: TopicInfo, positions: Mapping[int, int], *, once: bool) -> None:
        spark = self._ready()
        checkpoint = tempfile.mkdtemp(prefix="checkpoint-", dir=self._scratch)  # scratch: the ledger is the checkpoint
        where = source.TopicSource(self._settings, info.topic_id)
        write = partial(sink.write, source=where, scratch=self._scratch, alone=len(info.partitions) == 1)
        with _jvm_errors():
            session.add_jars(spark, self._runtime.jars)
            stream = (
                source.frame(spark, self._settings, positions)
                .mapInArrow(write, sink.OUTPUT)
                .writeStream.format("noop")
                .option("checkpointLocation", checkpoint)
            )
            stream = stream.trigger(availableNow=True) if once else stream.trigger(processingTime="0 seconds")
            self._query = stream.start()

    def _ready(self) -> SparkSession:
        """Spark, on a cluster with an executor at least.

        A JVM that is gone cannot be replaced within this process: the process is started over in its place.
        Raises SparkUnavailable.
        """
        try:
            with _jvm_errors():
                return self._living_session()
        except JvmGone as gone:
            log.warning("%s Starting it over.", gone.message)
            _start_over()

    def _living_session(self) -> SparkSession:
        from py4j.protocol import Py4JJavaError

        try:
            spark = self._session.result()
            if spark.sparkContext._jsc.sc().isStopped():  # the cluster has ended it
                spark.stop()
                self.open(self._scratch)
                spark = self._session.result()
        except Py4JJavaError as error:
            self.open(self._scratch)
            told = _first_line(str(error.java_exception))
            raise SparkUnavailable(f"Spark at {self._runtime.master} does not answer: {told}") from error
        if self._runtime.on_cluster:
            self._check_executors()
        return spark

    def _check_executors(self) -> None:
        """Raises SparkUnavailable where none comes."""
        context = self._session.result().sparkContext
        deadline = time.monotonic() + _REGISTRATION
        with _jvm_errors():
            # The driver counts as one.
            while (executors := context._jsc.sc().getExecutorMemoryStatus().size() - 1) < 1:
                if time.monotonic() > deadline:
                    raise SparkUnavailable(
                        f"Spark at {self._runtime.master} has no executor for the sink.",
                        hint="Is a worker alive there, with a free core and 1 GB of memory?",
                    )
                time.sleep(0.1)
            slots = context.defaultParallelism
        if (executors, slots) != self._told:
            self._told = executors, slots
            log.info(
                "Spark at %s: %d executors with %d task slots; each slot has one connection to MySQL at most.",
                self._runtime.master,
                executors,
                slots,
            )

    def wait(self, seconds: float) -> bool:
        if self._runtime.on_cluster and time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            self._check_executors()
        with _jvm_errors():
            return bool(self._query.awaitTermination(seconds))  # type: ignore[arg-type]

    def activity(self) -> str:
        with _jvm_errors():
            return str(self._query.status["message"])

    def finish(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with _jvm_errors():
            before = _batch_id(self._query)
            while time.monotonic() < deadline and self._query.isActive:
                if not self._query.status["isDataAvailable"] or _batch_id(self._query) != before:
                    return
                time.sleep(0.01)

    def stop(self) -> None:
        with _jvm_errors():
            self._query.stop()

    def close(self) -> None:
        from py4j.protocol import Py4JError

        with suppress(Py4JError, ConnectionError):  # a signal to the whole process group has ended the JVM already
            session.stop(self._session.result())


def _batch_id(query: StreamingQuery) -> int:
    progress: Any = query.lastProgress
    return int(progress["batchId"]) if progress else -1


class JvmGone(Interrupted):
    """Spark's JVM has ended."""


@contextmanager
def _jvm_errors() -> Iterator[None]:
    """Turns what Spark and its gateway raise into our classes."""
    from py4j.protocol import Py4JError, Py4JNetworkError
    from pyspark.errors import PySparkRuntimeError
    from pyspark.errors.exceptions.captured import CapturedException

    try:
        yield
    except CapturedException as exception:
        text = str(exception)
        raise sink.told(text) or Interrupted(f"Spark's query ended: {_root_cause(exception)}.") from exception
    except (Py4JNetworkError, ConnectionError) as exception:
        raise JvmGone(f"Spark's JVM is gone ({exception}).") from exception
    except PySparkRuntimeError as exception:
        if exception.getCondition() != "JAVA_GATEWAY_EXITED":
            raise
        raise JvmGone("Spark's JVM ended while it started.") from exception
    except Py4JError as exception:
        raise Interrupted(f"Spark's gateway failed: {_first_line(str(exception))}") from exception


def _root_cause(exception: CapturedException) -> str:
    while exception._cause is not None:
        exception = exception._cause
    return _first_line(exception._desc)


def _start_over() -> NoReturn:
    time.sleep(1)  # so that a JVM that cannot live does not spin
    sys.stdout.flush()
    # MySQL's client library lets its sockets live on across exec: the session that leads would never end.
    for path in Path("/dev/fd").iterdir():
        if (descriptor := int(path.name)) > 2:
            with suppress(OSError):  # iterdir's own
                os.set_inheritable(descriptor, False)
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
