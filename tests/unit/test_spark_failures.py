"""How a query that fails repeatedly ends, and what a user of the API sees."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pyspark import SparkContext
from pyspark.errors import PySparkException, PySparkRuntimeError

from orderflow import restarts
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
from orderflow.settings import Settings
from orderflow.spark import failures, read_records, session


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


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ("org.apache.hadoop.fs.FSError: java.io.IOException: No space left on device", OutOfResources),
        ("java.net.SocketException: Too many open files", OutOfResources),
        ("java.lang.IllegalStateException: No space left on device, it said before", Interrupted),
        (
            "org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment. Call: listNodes",
            Interrupted,
        ),
        ("java.util.concurrent.TimeoutException: Cannot fetch record for offset 0 in 15000 milliseconds", Interrupted),
        ("java.util.concurrent.TimeoutException: Stream Execution thread for stream 1 failed to stop", Interrupted),
        ("java.lang.IllegalStateException: Cannot fetch offset 5 (GroupId: 1, TopicPartition: orders-0)", Interrupted),
        ("no reason given", Interrupted),
    ],
)
def test_javas_shortages_are_waited_for(cause: str, expected: type[OrderFlowError]) -> None:
    error = failures.error_from_java("Spark failed", cause)
    assert (type(error), error.message) == (expected, f"Spark failed: {cause}.")
    assert bool(error.hint) == (expected is OutOfResources or "TimeoutException: T" in cause or "record for" in cause)


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


@pytest.mark.parametrize(("progress", "is_restarted"), [([], False), ([{"numInputRows": 0}], True)])
def test_a_query_without_progress_is_not_restarted_for_ever(
    progress: list[dict[str, int]], is_restarted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, its first batch ends after two minutes, because Spark's workers do not reach a broker."""
    ticks = itertools.count(step=restarts.HEALTHY_RUN + 1)
    monkeypatch.setattr(failures, "time", mock.Mock(monotonic=lambda: next(ticks)))
    query = mock.Mock(recentProgress=progress)
    query.awaitTermination.side_effect = LedgerGap("A gap.")
    start = mock.Mock(side_effect=[*[query] * 20, mock.Mock()])
    with nullcontext() if is_restarted else pytest.raises(EngineFailed):
        failures.keep_running(start)


def test_a_jvm_that_is_gone_is_reported() -> None:
    with pytest.raises(EngineFailed, match=r"JVM has exited \(refused\)"):
        failures.keep_running(mock.Mock(side_effect=ConnectionRefusedError("refused")))


def test_a_jvm_that_does_not_start_is_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as other, session._end_jvm_that_does_not_start(0.1):
        jvm = subprocess.Popen(["sleep", "60"])
        assert jvm.wait(30) == -signal.SIGKILL
        assert other.poll() is None
        other.kill()


def test_a_jvm_that_does_not_start_another_session_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "60"]) as jvm:
        monkeypatch.setattr(SparkContext, "_gateway", mock.Mock(proc=jvm))
        with session._end_jvm_that_does_not_start(0.1):
            assert jvm.wait(30) == -signal.SIGKILL
