"""How a query that fails repeatedly ends, and what a user of the API sees."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pyspark.errors import PySparkException, PySparkRuntimeError

from orderflow import topic
from orderflow.errors import (
    EngineFailed,
    FileUnusable,
    InputInvalid,
    Interrupted,
    JvmExited,
    KafkaUnavailable,
    LedgerGap,
    OrderFlowError,
    OutOfResources,
)
from orderflow.pipeline import spark_engine
from orderflow.pipeline.direct import DirectEngine
from orderflow.pipeline.engine import STALL_TIMEOUT
from orderflow.pipeline.spark_engine import SparkEngine
from orderflow.pipeline.spark_unreadable import UnreadableRecords
from orderflow.settings import Settings
from orderflow.spark import failures, read_records, session
from orderflow.topic import Record, TopicInfo


def _failing(*errors: OrderFlowError | None) -> mock.Mock:
    """Return a `start` whose queries end with these errors in turn; None is a normal end."""
    return mock.Mock(
        side_effect=[mock.Mock(awaitTermination=mock.Mock(side_effect=error), recentProgress=[]) for error in errors]
    )


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


def test_a_query_behind_its_own_checkpoint_fails_with_a_hint() -> None:
    gap = LedgerGap("The batch of orders partition 0 starts at offset 504", hint="remove the checkpointLocation")
    with pytest.raises(EngineFailed, match=r"failed 8 times in a row without progress: .* offset 504") as failed:
        failures.keep_running(_failing(*[gap] * 8))
    assert failed.value.hint == "remove the checkpointLocation"


def test_an_unavailable_server_is_waited_for() -> None:
    start = _failing(*[KafkaUnavailable("away")] * 20, None)
    failures.keep_running(start)
    assert start.call_count == 21


@pytest.mark.parametrize(
    ("backlogs", "searched"),
    [
        ([1_000_000, *[0] * 31], {0: 300_000}),  # Spark gives it the whole trigger
        ([1_000_000, 200], {0: 300_000, 1: 120}),
        ([100_000, 100_000, 10], {0: 100_000, 1: 100_000, 2: 10}),
        ([1_000_000] * 30, dict.fromkeys(range(30), 20_001)),  # twice a thirtieth
    ],
)
def test_damage_is_searched_as_far_as_a_micro_batch_reads(
    backlogs: list[int], searched: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[int, int] = {}

    def find(settings: Settings, partition: int, start: int, end: int, on_record: object) -> None:
        read[partition] = end - start

    monkeypatch.setattr(topic, "find_next_damage", find)
    unreadable = UnreadableRecords(Settings(max_offsets_per_trigger=300_000))
    unreadable.must_search = True
    positions = dict.fromkeys(range(len(backlogs)), 10)
    ends = {partition: 10 + backlog for partition, backlog in enumerate(backlogs)}
    stop_event = threading.Event()
    assert (
        unreadable.store_without_spark(mock.Mock(), mock.Mock(), positions, ends, scratch=Path(), stop_event=stop_event)
        == positions
    )
    assert read == searched


def test_a_requested_stop_ends_the_search_for_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(settings: Settings, partition: int, start: int, end: int, on_record: Callable[[Record], None]) -> None:
        for offset in range(start, end):
            on_record(Record(partition, offset, 2**62, None, b""))

    monkeypatch.setattr(topic, "find_next_damage", find)
    unreadable = UnreadableRecords(Settings())
    unreadable.must_search = True
    stop_event = threading.Event()
    stop_event.set()
    with pytest.raises(Interrupted, match="A stop was requested"):
        unreadable.store_without_spark(mock.Mock(), mock.Mock(), {0: 0}, {0: 9}, scratch=Path(), stop_event=stop_event)


def test_a_requested_stop_ends_the_storing_without_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads may wait for MySQL."""
    engine, stop_event, is_ended = DirectEngine(Settings()), threading.Event(), threading.Event()
    monkeypatch.setattr(engine, "_store", lambda *_: is_ended.wait(30))
    stop_event.set()
    with pytest.raises(Interrupted, match="A stop was requested"):
        engine.store(TopicInfo("orders", "id", (0,)), {0: 0}, {0: 9}, Path(), stop_event)
    is_ended.set()


@pytest.mark.parametrize("method", ["getCondition", "getErrorClass"])
def test_a_jvm_that_exits_while_it_starts_is_restarted(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spark 3.5 has only the second method."""

    class OfThisVersion(PySparkRuntimeError):
        def __init__(self, condition: str) -> None:
            Exception.__init__(self, condition)

    monkeypatch.setattr("pyspark.errors.PySparkRuntimeError", OfThisVersion)
    for name in ("getCondition", "getErrorClass"):
        monkeypatch.delattr(PySparkException, name, raising=False)
    setattr(OfThisVersion, method, lambda self: self.args[0])
    with pytest.raises(JvmExited), failures.translate_errors():
        raise OfThisVersion("JAVA_GATEWAY_EXITED")
    with pytest.raises(OfThisVersion), failures.translate_errors():
        raise OfThisVersion("ANOTHER")


def test_a_stop_request_does_not_wait_for_a_jvm_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_engine, "_JVM_START_TIMEOUT", 0.1)
    killed = mock.Mock()
    monkeypatch.setattr(session, "kill_jvm", killed)
    monkeypatch.setattr(session, "start", lambda *_: threading.Event().wait(30))
    engine, stop_event = SparkEngine(Settings(), mock.Mock()), threading.Event()
    engine.open(Path(), stop_event)
    stop_event.set()
    with pytest.raises(Interrupted, match="while Spark started"):
        engine.start(TopicInfo("orders", "id", (0,)), {0: 0}, {0: 9}, once=False)
    engine.close()
    killed.assert_called_once_with()


def test_an_interval_is_no_stall() -> None:
    assert SparkEngine(Settings(sink_trigger="10 minutes"), mock.Mock()).stall_timeout() == STALL_TIMEOUT + 600


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ("org.apache.hadoop.fs.FSError: java.io.IOException: No space left on device", OutOfResources),
        ("java.net.SocketException: Too many open files", OutOfResources),
        ("java.lang.IllegalStateException: No space left on device, it said before", Interrupted),
        ("no reason given", Interrupted),
    ],
)
def test_javas_shortages_are_waited_for(cause: str, expected: type[OrderFlowError]) -> None:
    error = failures.error_from_java("Spark failed", cause)
    assert (type(error), error.message) == (expected, f"Spark failed: {cause}.")
    assert bool(error.hint) == (expected is OutOfResources)


def test_a_start_that_failed_needs_no_stop() -> None:
    engine = SparkEngine(Settings(), mock.Mock())
    engine._session = Future()
    engine._session.set_exception(ImportError("cannot import name"))
    engine.close()


def test_local_folders_that_cannot_be_written_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_LOCAL_DIRS", f"/proc/x,{tmp_path}/file/y")
    (tmp_path / "file").touch()
    with pytest.raises(FileUnusable, match=r"any folder of SPARK_LOCAL_DIRS \(/.*/file/y: Not a directory\)"):
        session.check_environment()
    monkeypatch.setenv("SPARK_LOCAL_DIRS", f"/proc/x,{tmp_path}/new")
    session.check_environment()


def test_a_traceback_shows_the_hint() -> None:
    shown = "".join(traceback.format_exception_only(InputInvalid("x is wrong.", hint="Set y.")))
    assert shown.endswith("x is wrong.\nhint: Set y.\n")


@pytest.mark.parametrize("name", ["kafka.isolation.level", "kafka.Isolation.Level"])
def test_aborted_transactions_cannot_be_read(name: str) -> None:
    options: dict[str, Any] = {name: "read_uncommitted"}
    with pytest.raises(InputInvalid, match="read_uncommitted"):
        read_records(mock.Mock(), Settings(), **options)


def test_a_query_with_progress_is_restarted_without_a_limit() -> None:
    def failing(rows: int) -> mock.Mock:
        query = mock.Mock(recentProgress=[{"numInputRows": 0}, {"numInputRows": rows}])
        query.awaitTermination.side_effect = LedgerGap("A gap.")
        return query

    ended = mock.Mock()
    failures.keep_running(mock.Mock(side_effect=[*[failing(5)] * 20, ended]))
    with pytest.raises(EngineFailed):
        failures.keep_running(mock.Mock(side_effect=[*[failing(0)] * 20, ended]))


def test_a_jvm_that_is_gone_is_reported() -> None:
    with pytest.raises(EngineFailed, match=r"JVM has exited \(refused\)"):
        failures.keep_running(mock.Mock(side_effect=ConnectionRefusedError("refused")))


def test_a_jvm_that_does_not_start_is_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as other, session._end_jvm_that_does_not_start(0.1):
        jvm = subprocess.Popen(["sleep", "60"])
        assert jvm.wait(30) == -signal.SIGKILL
        assert other.poll() is None
        other.kill()
