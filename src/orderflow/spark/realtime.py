"""Real-Time Mode: Spark's low-latency trigger, which stores records when they arrive instead of in micro-batches.

Spark's tasks run for a whole batch of a minute and pass each record on when it arrives. Three facts about Spark 4.2
explain this module (docs/decisions/0002-real-time-mode.md has the measurements):

- Spark sends an Arrow batch only when the next row is known. So each record is followed by a row of nulls, a flush row.
- During a batch, Spark reads neither rows nor exceptions from a worker. So a worker that fails writes its error to a
  file for the driver and ends its process.
- Spark treats records as processed before they are committed. So only the ledger has the position to start from.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orderflow.spark import tasks  # isort: skip # first, for the reason in tasks.py

import pyarrow as pa

from orderflow.errors import Interrupted, OrderFlowError, from_json
from orderflow.positions.kafka_topic_reader import KafkaTopicReader
from orderflow.spark import session
from orderflow.store.record_batch import MAX_TRANSACTION_RECORDS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.readwriter import DataStreamWriter

BATCH = "1 minute"  # each batch end costs about 0.2 s of latency; progress is reported only at a batch's end
ALLOW_LIST = "spark.sql.streaming.realTimeMode.allowlistCheck"  # the allowlist contains no Python operator
_LINGER = 0.003  # seconds that a transaction waits for more records before it begins
_MAX_BUFFERED = 2 * MAX_TRANSACTION_RECORDS  # records in a worker; others wait in Spark
_FLUSH_TIMEOUT = 60.0  # seconds that the end of a task waits for its last commit
_ERROR_FILE = "worker-error-"
# Spark keys its worker pools by these options. Micro-batches with the same values reuse the workers and connections.
SHARED_OPTIONS = {
    "spark.sql.execution.pandas.udf.buffer.size": "4",  # bytes after which Spark sends its buffer: at once
}
_OPTIONS = SHARED_OPTIONS | {
    ALLOW_LIST: "false",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1",
    "spark.sql.adaptive.enabled": "false",
}


def realtime_session(spark: SparkSession) -> SparkSession:
    """Return a new session of the same application with the options of Real-Time Mode. It has its own listeners."""
    new = spark.newSession()
    for name, value in _OPTIONS.items():
        new.conf.set(name, value)
    return new


def with_trigger(writer: DataStreamWriter, spark: SparkSession, batch: str) -> DataStreamWriter:
    """Return the writer with the trigger of Real-Time Mode. Spark supports it since 4.1, PySpark since 4.2."""
    if session.version() >= (4, 2):
        return writer.trigger(realTime=batch)  # type: ignore[call-overload, no-any-return] # the stubs lack it
    jvm: Any = spark._jvm
    writer._jwrite = writer._jwrite.trigger(jvm.org.apache.spark.sql.streaming.Trigger.RealTime(batch))
    return writer


def with_flush_rows(records: DataFrame) -> DataFrame:
    """Return the records with a row of nulls after each."""
    with_copies = records.selectExpr("*", "explode(array(false, true)) AS is_flush_row")
    return with_copies.selectExpr(*(f"if(is_flush_row, null, `{name}`) AS `{name}`" for name in records.columns))


def read_failure(scratch: Path) -> OrderFlowError | None:
    """Return the error of a failed worker on this machine; None if no worker has failed."""
    for file in scratch.glob(f"{_ERROR_FILE}*.json"):
        return from_json(file.read_text("utf-8"))
    return None


def clear_failures(scratch: Path) -> None:
    """Delete the errors of earlier queries."""
    for file in scratch.glob(f"{_ERROR_FILE}*"):
        file.unlink(missing_ok=True)


def commit_on_arrival(
    batches: Iterator[pa.RecordBatch], topic_reader: KafkaTopicReader, *, scratch: Path, sort_by_last_digit: bool
) -> Iterator[pa.RecordBatch]:
    """Commit records when they arrive. At the task's end, yield a row of TRANSACTION_SCHEMA for each transaction.

    Raises WorkerFailed.
    """
    committer = Committer(topic_reader, scratch if scratch.is_dir() else None, sort_by_last_digit)
    for batch in batches:
        if batch.column(0).null_count == 0:
            committer.append(batch)
    yield from committer.finish()


class Committer:
    """Commits a task's records in the background: one transaction holds everything that has arrived so far."""

    def __init__(self, topic_reader: KafkaTopicReader, scratch: Path | None, sort_by_last_digit: bool) -> None:
        """Start the committing thread."""
        self._topic_reader, self._scratch, self._sort_by_last_digit = topic_reader, scratch, sort_by_last_digit
        self._arrived: list[pa.RecordBatch] = []
        self._transaction_rows: list[pa.RecordBatch] = []
        self._changed = threading.Condition()
        self._is_finishing = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def append(self, batch: pa.RecordBatch) -> None:
        """Add a record to the buffer; wait while the buffer is full."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._arrived) < _MAX_BUFFERED)
            self._arrived.append(batch)
            self._changed.notify_all()

    def finish(self) -> list[pa.RecordBatch]:
        """Wait until everything is committed. Return the rows of the transactions.

        Raises WorkerFailed.
        """
        with self._changed:
            self._is_finishing = True
            self._changed.notify_all()
        self._thread.join(_FLUSH_TIMEOUT)
        if self._thread.is_alive():
            timeout = Interrupted(f"A Spark task could not commit its last records within {_FLUSH_TIMEOUT:g} s.")
            raise tasks.WorkerFailed(timeout.to_json())
        if self._error:
            raise self._error
        return self._transaction_rows

    def _run(self) -> None:
        try:
            while records := self._next():
                [batch] = pa.Table.from_batches(records).combine_chunks().to_batches()
                self._transaction_rows += tasks.commit_batches(
                    iter([batch]),
                    self._topic_reader,
                    scratch=self._scratch,
                    sort_by_last_digit=self._sort_by_last_digit,
                    check_gaps=False,
                )
        except BaseException as error:  # noqa: BLE001 - the process must not continue without its committer
            self._fail(error)

    def _next(self) -> list[pa.RecordBatch]:
        """Return the buffered records after a short wait for more; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrived or self._is_finishing)
            if not self._is_finishing:
                self._changed.wait_for(lambda: self._is_finishing, _LINGER)
            taken, self._arrived = self._arrived[:MAX_TRANSACTION_RECORDS], self._arrived[MAX_TRANSACTION_RECORDS:]
            self._changed.notify_all()
            return taken

    def _fail(self, error: BaseException) -> None:
        """At the task's end, store the error for `finish` and return. Otherwise write it to a file and end the process.

        Without a scratch folder on this machine, or if the file cannot be written, the error goes to stderr. Spark
        detects the end of the process at the partition's next record.
        """
        with self._changed:
            self._error = error
            if self._is_finishing:
                return
        text = (
            str(error)
            if isinstance(error, tasks.WorkerFailed)
            else Interrupted(f"A worker failed: {error!r}.").to_json()
        )
        try:
            if self._scratch is None:
                print(f"A worker has failed: {text}", file=sys.stderr, flush=True)
            else:
                file = self._scratch / f"{_ERROR_FILE}{os.getpid()}"
                file.write_text(text, "utf-8")
                file.rename(file.with_suffix(".json"))
        except OSError as full:
            print(f"The error of a worker cannot be written to a file: {full}. {text}", file=sys.stderr, flush=True)
        finally:
            os._exit(1)
