"""Spark as the engine: one streaming query, from Kafka through Python workers into the store."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from orderflow.errors import Interrupted, SparkUnavailable
from orderflow.pipeline import session, sink
from orderflow.pipeline.engine import background
from orderflow.pipeline.source import TopicSource
from orderflow.settings import Settings
from orderflow.topic import TopicInfo

if TYPE_CHECKING:
    from pyspark.errors.exceptions.captured import CapturedException
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

log = logging.getLogger(__name__)

_REGISTRATION = 10.0  # seconds that executors are given to come up
_SETTLING = 1.0  # seconds after the last of them
_LOOK = 5.0  # seconds between two looks at them
_MICRO_BATCH = 600.0  # seconds; between two, no order is stored for half a second


class SparkEngine:
    """See Engine. Spark says where flows run, and starts them again; each task of its one query is a flow."""

    def __init__(self, settings: Settings, runtime: session.Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        self._scratch: Path
        self._session: Future[SparkSession]
        self._query: StreamingQuery
        self._going: Path  # a file, while the flows shall go on
        self._executors = 1
        self._looked = 0.0

    def open(self, scratch: Path) -> None:
        """Start the JVM. An error elsewhere need not wait for it: it ends with this process."""
        self._scratch = scratch
        self._session = background("spark-start", lambda: session.start(self._runtime, scratch))

    def start(self, info: TopicInfo, ends: Mapping[int, int] | None) -> None:
        from pyspark.sql.functions import udf

        spark = self._ready()
        flows = min(self._executors, len(info.partitions))
        shares = [info.partitions[number::flows] for number in range(flows)]
        descriptor, going = tempfile.mkstemp(prefix="going-", dir=self._scratch)
        os.close(descriptor)
        self._going = Path(going)
        source = TopicSource(self._settings, info.topic_id)
        seconds = _MICRO_BATCH if ends is None else math.inf
        flow = sink.Sink(source, shares, ends, self._scratch, self._going, seconds)
        with _jvm_errors():
            numbers = (
                spark.readStream.format("rate-micro-batch")  # one number for each task
                .option("rowsPerBatch", flows)
                .option("numPartitions", flows)
                .load()
            )
            stream = (
                numbers.select(udf(flow.store, "long", useArrow=False)("value"))
                .writeStream.format("noop")
                # Scratch: the ledger is the checkpoint.
                .option("checkpointLocation", tempfile.mkdtemp(prefix="checkpoint-", dir=self._scratch))
            )
            self._query = (stream if ends is None else stream.trigger(availableNow=True)).start()

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
        # It is spark-submit's, where that has started it.
        self._runtime = self._runtime._replace(master=str(spark.sparkContext.master))
        self._executors = self._await_executors() if self._runtime.on_cluster else 1
        return spark

    def _await_executors(self) -> int:
        """How many executors there are, once no more have come for a second.

        Raises SparkUnavailable where none comes.
        """
        found, settled = 0, 0.0
        deadline = time.monotonic() + _REGISTRATION
        while not found or time.monotonic() < settled:
            if (now := self._count_executors()) != found:
                found, settled = now, time.monotonic() + _SETTLING
            if not found and time.monotonic() > deadline:
                raise SparkUnavailable(
                    f"Spark at {self._runtime.master} has no executor for the sink.",
                    hint="Is a worker alive there, with a free core and 1 GB of memory?",
                )
            time.sleep(0.1)
        log.info("Spark at %s: %d executors, each with one flow at most.", self._runtime.master, found)
        return found

    def _count_executors(self) -> int:
        self._looked = time.monotonic()
        with _jvm_errors():
            # The driver counts as one.
            return int(self._session.result().sparkContext._jsc.sc().getExecutorMemoryStatus().size()) - 1

    def wait(self, seconds: float) -> bool:
        look = self._runtime.on_cluster and time.monotonic() - self._looked > _LOOK
        if look and (executors := self._count_executors()) != self._executors:
            raise Interrupted(f"Spark at {self._runtime.master} has {executors} executors, not {self._executors}.")
        with _jvm_errors():
            return bool(self._query.awaitTermination(seconds))  # type: ignore[arg-type]

    def activity(self) -> str:
        with _jvm_errors():
            return str(self._query.status["message"])

    def finish(self, seconds: float) -> None:
        self._going.unlink(missing_ok=True)
        if self._runtime.on_cluster:  # whose processes do not see it: Spark ends them
            return
        deadline, before = time.monotonic() + seconds, self._batch()
        while time.monotonic() < deadline and self._batch() == before and not self.wait(0.01):
            pass

    def stop(self) -> None:
        self._going.unlink(missing_ok=True)
        with _jvm_errors():
            self._query.stop()

    def _batch(self) -> int:
        """The micro-batch that has ended last."""
        with _jvm_errors():
            progress: Any = self._query.lastProgress
        return int(progress["batchId"]) if progress else -1

    def close(self) -> None:
        from py4j.protocol import Py4JError

        with suppress(Py4JError, ConnectionError):  # a signal to the whole process group has ended the JVM already
            session.stop(self._session.result())


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
    # A worker's own error stands at the end of its traceback, before Spark's SQLSTATE.
    found = re.search(r"Traceback .*\n(\S.*)\n SQLSTATE", exception._desc, re.DOTALL)
    return _first_line(found[1] if found else exception._desc)


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
