"""The Spark engine's states, with a scripted session and scripted queries: no JVM, no Kafka, no MySQL."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from orderflow.errors import (
    BatchDamaged,
    Contention,
    Interrupted,
    JvmExited,
    OrderFlowError,
    SparkUnavailable,
    StopRequested,
)
from orderflow.pipeline import spark_driver, spark_query, trigger_mode
from orderflow.pipeline.engine import STALL_TIMEOUT, DamagedPartition
from orderflow.pipeline.spark_driver import SparkDriver
from orderflow.pipeline.spark_engine import SparkEngine
from orderflow.pipeline.spark_query import RealtimeQuery
from orderflow.settings import Settings
from orderflow.spark import realtime, session
from orderflow.spark.session import Runtime
from orderflow.topic import TopicInfo

INFO = TopicInfo("orders", "id", (0, 1))
PROGRESS: dict[str, Any] = {
    "batchId": 7,
    "inputRowsPerSecond": 10.0,
    "processedRowsPerSecond": 20.0,
    "durationMs": {"addBatch": 500},
    "sources": [{"metrics": None}],
}


class Query:
    """A StreamingQuery that runs until it gets an `error` or its `has_ended` is set."""

    def __init__(self, kind: str, positions: str) -> None:
        self.kind, self.positions = kind, positions
        self.error: OrderFlowError | None = None
        self.stop_error: OrderFlowError | None = None
        self.has_ended = False
        self.stops = 0
        self.isActive = True
        self.status = {"message": "Processing new data", "isDataAvailable": True}
        self.progresses: list[dict[str, Any] | None] = [None]

    @property
    def lastProgress(self) -> dict[str, Any] | None:  # noqa: N802 - Spark's name
        return self.progresses.pop(0) if len(self.progresses) > 1 else self.progresses[0]

    def awaitTermination(self, seconds: float) -> bool:  # noqa: N802
        if self.error:
            raise self.error
        return self.has_ended

    def stop(self) -> None:
        self.stops += 1
        if self.stop_error:
            raise self.stop_error


class Writer:
    """A DataStreamWriter whose queries `Spark` collects."""

    def __init__(self, queries: list[Query], options: Mapping[str, Any]) -> None:
        self._queries, self._options, self._kind = queries, options, ""

    def queryName(self, name: str) -> Writer:  # noqa: N802
        assert name == "orderflow: orders"
        return self

    def option(self, name: str, value: str) -> Writer:
        assert name == "checkpointLocation" and value.startswith("file:///")
        return self

    def trigger(self, **trigger: Any) -> Writer:
        [(name, value)] = trigger.items()
        self._kind = f"{name} {value}"
        return self

    def start(self) -> Query:
        self._queries.append(Query(self._kind, self._options["startingOffsets"]))
        return self._queries[-1]


class Spark:
    """Spark on this machine. Its sessions are scripted, and `engine` runs on it."""

    def __init__(self, scratch: Path, trigger: str, slots: int, start_error: OSError | None) -> None:
        self._slots, self._start_error = slots, start_error
        self.queries: list[Query] = []
        self.sessions: list[mock.MagicMock] = []
        self.scratch, self.stop_event = scratch, threading.Event()
        self.driver = SparkDriver(Runtime((), Path(), ()))
        self.engine = SparkEngine(Settings(sink_trigger=trigger), self.driver)

    def start_session(self) -> mock.MagicMock:
        error, self._start_error = self._start_error, None
        if error:
            raise error
        new = mock.MagicMock(version="4.2.0")
        new.sparkContext.master = "local[4]"
        new.sparkContext.defaultParallelism = self._slots
        new.sparkContext.getConf.return_value.get.return_value = "false"
        new.sparkContext._jsc.sc.return_value.isStopped.return_value = False
        self.sessions.append(new)
        return new

    def start(self, lag: int = 0, *, once: bool = False) -> Query:
        self.engine.start(INFO, {0: 10, 1: 20}, {0: 10 + lag, 1: 20}, once=once)
        return self.queries[-1]


@pytest.fixture
def spark_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that opens an engine with a trigger."""
    monkeypatch.setattr(session, "is_submitted", lambda: True)  # without a watchdog
    monkeypatch.setattr(realtime, "realtime_session", lambda spark: spark)

    def open_engine(trigger: str = "micro-batch", *, slots: int = 4, start_error: OSError | None = None) -> Spark:
        spark = Spark(tmp_path, trigger, slots, start_error)
        monkeypatch.setattr(session, "start", lambda *_: spark.start_session())
        monkeypatch.setattr(spark_query, "read_records", lambda _, __, **read_options: read_options)
        monkeypatch.setattr(spark_query, "write_orders", lambda records, *_, **__: Writer(spark.queries, records))
        monkeypatch.setattr(realtime, "with_trigger", lambda writer, _, batch: writer.trigger(realTime=batch))
        spark.engine.open(tmp_path, spark.stop_event)
        return spark

    return open_engine


@pytest.mark.parametrize(
    ("trigger", "once", "kind"),
    [
        ("micro-batch", False, "processingTime 0 seconds"),
        ("10 seconds", False, "processingTime 10 seconds"),
        ("realtime", False, "realTime 1 minute"),
        ("auto", False, "realTime 1 minute"),
        ("realtime", True, "availableNow True"),
    ],
)
def test_the_setting_chooses_the_query(spark_on: Any, trigger: str, once: bool, kind: str) -> None:
    query = spark_on(trigger).start(once=once)
    assert (query.kind, query.positions) == (kind, '{"orders": {"0": 10, "1": 20}}')


def test_a_platform_without_realtime_mode_gets_micro_batches(spark_on: Any, caplog: pytest.LogCaptureFixture) -> None:
    spark = spark_on("realtime", slots=2)
    assert spark.start().kind.startswith("processingTime")
    assert "Real-Time Mode is not possible: 2 partitions need 3 task slots, and Spark has 2" in caplog.text
    assert not spark.engine.update_trigger(0), "it is not tried again at once"


@pytest.mark.parametrize("error", [Interrupted("A worker died."), Contention("A deadlock.")])
def test_after_a_failure_of_realtime_mode_micro_batches_catch_up(spark_on: Any, error: OrderFlowError) -> None:
    spark = spark_on("realtime")
    query = spark.start()
    assert not spark.engine.wait(0)
    query.error = error
    with pytest.raises(type(error)):
        spark.engine.wait(0)
    assert spark.start().kind.startswith("processingTime")


def test_after_failed_starts_of_realtime_mode_micro_batches_follow(
    spark_on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spark = spark_on("realtime")
    monkeypatch.setattr(realtime, "with_trigger", mock.Mock(side_effect=Interrupted("Spark does not support it.")))
    with pytest.raises(Interrupted):
        spark.start()
    assert spark.start().kind.startswith("processingTime")


def test_a_worker_of_realtime_mode_reports_its_error_in_a_file(spark_on: Any) -> None:
    spark = spark_on("realtime")
    spark.start()
    error_file = spark.scratch / "worker-error-1.json"
    error_file.write_text(Contention("A lock.").to_json())
    with pytest.raises(Contention, match="A lock"):
        spark.engine.wait(0)
    spark.start()
    assert not spark.engine.wait(0), "micro-batches write no such files"


def test_a_realtime_query_that_hangs_has_failed(spark_on: Any) -> None:
    spark = spark_on("realtime")
    spark.start()
    spark.engine.mark_stalled()
    assert spark.start().kind.startswith("processingTime")


def test_a_restart_for_another_reason_is_no_failure_of_realtime_mode(spark_on: Any) -> None:
    """For example, the topic has new partitions."""
    spark = spark_on("realtime")
    first = spark.start()
    spark.engine.stop()
    assert spark.start(lag=10**6).kind == "realTime 1 minute"
    assert first.stops >= 1


def test_auto_switches_with_the_lag(spark_on: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    spark = spark_on("auto")
    assert spark.start(lag=trigger_mode.REALTIME_LAG + 1).kind.startswith("processingTime")
    assert not spark.engine.update_trigger(trigger_mode.REALTIME_LAG + 1)
    assert spark.engine.update_trigger(0)
    assert spark.start().kind.startswith("realTime")
    assert not spark.engine.update_trigger(trigger_mode.MICRO_BATCH_LAG)
    assert spark.engine.update_trigger(trigger_mode.MICRO_BATCH_LAG + 1)
    assert "Switching to micro-batches, because 40001 records wait." in caplog.text
    assert spark.start().kind.startswith("processingTime")


def test_the_trigger_of_once_never_changes(spark_on: Any) -> None:
    spark = spark_on("auto")
    spark.start(once=True)
    assert not spark.engine.update_trigger(0)


def test_a_session_that_the_cluster_has_stopped_is_replaced(spark_on: Any) -> None:
    spark = spark_on("realtime")
    spark.start()
    [first] = spark.sessions
    first.sparkContext._jsc.sc.return_value.isStopped.return_value = True
    spark.start()
    first.stop.assert_called_once_with()
    assert len(spark.sessions) == 2
    assert spark.driver.realtime_session(mock.Mock()) is spark.sessions[1], "not one of the stopped session"


def test_a_start_without_memory_is_repeated(spark_on: Any) -> None:
    spark = spark_on(start_error=OSError(12, "Cannot allocate memory"))
    with pytest.raises(OSError, match="Cannot allocate memory"):
        spark.start()
    assert spark.start().kind.startswith("processingTime")


def test_a_query_that_does_not_stop_costs_the_jvm_at_the_next_start(spark_on: Any) -> None:
    spark = spark_on()
    spark.start().stop_error = Interrupted("It waits for a broker.")
    with pytest.raises(SparkUnavailable, match=r"has not stopped yet\. It waits for a broker"):
        spark.engine.stop()
    with pytest.raises(JvmExited, match="its JVM is replaced"):
        spark.start()


def test_a_failed_query_makes_the_next_start_search_for_unreadable_records(
    spark_on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start stores the records before a damaged batch, and Spark reads the other partitions."""
    spark = spark_on()
    unreadable = spark.engine._unreadable
    damaged = {0: DamagedPartition(10, BatchDamaged("A damaged batch."))}
    monkeypatch.setattr(unreadable, "_search", lambda *_: (damaged, {}))
    query = spark.start()
    assert query.positions == '{"orders": {"0": 10, "1": 20}}'
    query.error = Interrupted("A CRC error.")
    with pytest.raises(Interrupted):
        spark.engine.wait(0)
    assert spark.start().positions == '{"orders": {"1": 20}}'
    assert spark.engine.damaged_partitions() == damaged
    query = spark.start(once=True)
    query.has_ended = True
    with pytest.raises(BatchDamaged):
        spark.engine.wait(0)

    damaged[1] = DamagedPartition(20, BatchDamaged("Another."))
    spark.start()
    assert spark.queries[-1] is query, "no partition is left"
    assert not spark.engine.wait(0)
    assert spark.engine.activity() == "no partition can be read"
    assert spark.engine.progress() is None
    assert spark.engine.stall_timeout() == STALL_TIMEOUT
    spark.engine.drain(60)
    spark.engine.stop()


def test_a_query_that_has_ended_is_the_end(spark_on: Any) -> None:
    spark = spark_on()
    query = spark.start(once=True)
    assert not spark.engine.wait(0)
    query.has_ended = True
    assert spark.engine.wait(0)


def test_a_graceful_stop_waits_for_the_end_of_the_batch(spark_on: Any) -> None:
    spark = spark_on()
    query = spark.start()
    query.progresses = [None, None, PROGRESS]
    spark.engine.drain(60)
    assert query.progresses == [PROGRESS]
    query.status["isDataAvailable"] = False
    spark.engine.drain(60)
    query.status["isDataAvailable"] = True
    spark.engine.drain(0)


def test_a_graceful_stop_of_realtime_mode_does_not_wait(spark_on: Any) -> None:
    spark = spark_on("realtime")
    spark.start()
    spark.engine.drain(60)


def test_progress_and_activity_are_sparks(spark_on: Any) -> None:
    spark = spark_on()
    query = spark.start()
    assert spark.engine.progress() is None
    query.progresses = [PROGRESS]
    progress = spark.engine.progress()
    assert progress and progress.batch_id == 7 and progress.duration_seconds == {"addBatch": 0.5}
    assert spark.engine.activity() == "Processing new data"


def test_an_interval_is_no_stall() -> None:
    engine = SparkEngine(Settings(sink_trigger="10 minutes"), mock.Mock())
    assert engine.stall_timeout() == STALL_TIMEOUT + 600


def test_realtime_mode_detects_a_stall_sooner_when_it_has_started() -> None:
    now = 0.0
    query = RealtimeQuery(mock.Mock(), mock.Mock(), clock=lambda: now)
    assert query.stall_timeout(150) == 150
    now = 61.0
    assert query.stall_timeout(150) == 15


@pytest.mark.parametrize("executors", [0, 2])
def test_a_cluster_needs_an_executor(executors: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_cluster = mock.MagicMock()
    on_cluster.sparkContext.master = "spark://host:7077"
    on_cluster.sparkContext._jsc.sc.return_value.isStopped.return_value = False
    on_cluster.sparkContext._jsc.sc.return_value.getExecutorMemoryStatus.return_value.size.return_value = executors + 1
    monkeypatch.setattr(session, "is_submitted", lambda: True)
    monkeypatch.setattr(session, "start", lambda *_: on_cluster)
    runtime = Runtime((), Path(), (), "spark://host:7077")
    driver = SparkDriver(runtime, registration_timeout=0, executor_interval=0)
    driver.open(tmp_path, threading.Event())
    if executors:
        assert driver.ready_session() is on_cluster
        driver.check_executors_if_due()
    else:
        with pytest.raises(SparkUnavailable, match="Spark at spark://host:7077 has no executor"):
            driver.ready_session()


def test_a_stop_request_does_not_wait_for_a_jvm_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    killed, is_over = mock.Mock(), threading.Event()
    monkeypatch.setattr(session, "kill_jvm", killed)
    monkeypatch.setattr(session, "start", lambda *_: is_over.wait(30))
    engine = SparkEngine(Settings(), SparkDriver(Runtime((), Path(), ()), close_timeout=0.1))
    stop_event = threading.Event()
    engine.open(Path(), stop_event)
    stop_event.set()
    with pytest.raises(StopRequested, match="while Spark started"):
        engine.start(INFO, {0: 0}, {0: 9}, once=False)
    engine.close()
    killed.assert_called_once_with()
    is_over.set()


def test_a_start_that_failed_needs_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_driver, "run_in_thread", mock.Mock(return_value=Future()))
    stopped = mock.Mock()
    monkeypatch.setattr(session, "stop", stopped)
    driver = SparkDriver(Runtime((), Path(), ()))
    driver.open(Path(), threading.Event())
    driver._session.set_exception(ImportError("cannot import name"))
    driver.close()
    stopped.assert_not_called()
