"""Which errors the sink waits for, after how many it gives up, and which end it at once."""

from __future__ import annotations

import errno
import itertools
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest

from orderflow import topic
from orderflow.errors import (
    Contention,
    DatabaseRefused,
    DatabaseUnavailable,
    EngineFailed,
    Interrupted,
    JvmExited,
    KafkaUnavailable,
    LedgerGap,
    OperatorError,
    OrderFlowError,
    SparkUnavailable,
    StopRequested,
    TooManyQuarantined,
    TopicRecreated,
    UnknownDatabaseError,
)
from orderflow.pipeline import process_restart, supervisor
from orderflow.pipeline.engine import Engine
from orderflow.pipeline.engine_watch import EngineWatch, SinkProgress
from orderflow.pipeline.supervisor import Supervisor
from orderflow.positions.start_checks import AccountedOffsets, LedgerStart
from orderflow.settings import Settings
from orderflow.store.connection import Connection
from orderflow.topic import Bounds, TopicInfo
from tests.support.clock import Clock

Attempt = BaseException | Callable[["Scripted"], None]


class Event(threading.Event):
    """Waits no time, and records how long it should have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0)
        return self.is_set()


class IdleEngine:
    """Only opened and closed, because the attempts are scripted."""

    damaged: dict[int, Any] = {}

    def damaged_partitions(self) -> dict[int, Any]:
        return self.damaged

    def open(self, scratch: Path, stop_event: threading.Event) -> None:
        assert scratch.is_dir()

    def close(self) -> None:
        pass


class FakeWatch:
    """Has the positions that a test sets."""

    has_caught_up = False
    are_positions_current = True

    def __init__(self, error: OrderFlowError | None = None) -> None:
        self.positions: dict[int, int] = {}
        self._error = error

    def begin_attempt(self) -> None:
        self.has_caught_up = False

    def set_start(self, _: Connection, start: LedgerStart) -> None:
        self.positions = start.positions

    def mark_failed(self) -> None:
        """Do nothing."""

    def has_current_positions(self) -> bool:
        return self.are_positions_current

    def wait_for_end(self, *_: Any) -> bool:
        if self._error:
            raise self._error
        return False


class Scripted(Supervisor):
    """A supervisor whose attempts to run as leader have the given results, one after the other."""

    def __init__(self, *attempts: Attempt, **options: Any) -> None:
        self.reports: list[SinkProgress] = []
        self.engine = IdleEngine()
        super().__init__(Settings(), engine=cast(Engine, self.engine), on_progress=self.reports.append, **options)
        self.watch = FakeWatch()
        self._watch = cast(EngineWatch, self.watch)
        self._attempts = list(attempts)
        self.stop_event = self._stop_event = Event()

    def store_until(self, offset: int) -> None:
        self.watch.positions = {0: offset}

    def start_at(self, positions: dict[int, int], end_offsets: dict[int, int]) -> None:
        self.watch.positions = positions
        self._waiting = {
            partition: position for partition, position in positions.items() if position < end_offsets[partition]
        }

    def _run_as_leader(self) -> None:
        attempt = self._attempts.pop(0)
        if isinstance(attempt, BaseException):
            raise attempt
        attempt(self)

    def _lag(self) -> int:
        """The base class asks Kafka for it."""
        return 1_000

    @property
    def attempts_left(self) -> int:
        return len(self._attempts)


def _end(_: Scripted) -> None:
    """The attempt ends as with `once`."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _store_and_fail(offset: int, error: OrderFlowError) -> Callable[[Scripted], None]:
    def attempt(supervisor: Scripted) -> None:
        supervisor.store_until(offset)
        raise error

    return attempt


UNAVAILABLE = KafkaUnavailable("Kafka does not answer.")
INTERRUPTED = Interrupted("The engine hangs.")


@pytest.mark.parametrize("error", [UNAVAILABLE, INTERRUPTED, LedgerGap("A gap."), Contention("A lock.")])
def test_the_supervisor_retries_temporary_errors_and_reports_them(error: OrderFlowError) -> None:
    sink = Scripted(error, error, _end)
    sink.run()
    assert [(report.state, report.message) for report in sink.reports] == [("waiting", error.message)] * 2
    assert {report.error for report in sink.reports} == {type(error).__name__}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KafkaUnavailable("Kafka does not answer.", hint="Start it."), "Kafka does not answer. Retrying. Start it."),
        (
            DatabaseUnavailable("MySQL does not answer."),
            "MySQL does not answer. Retrying. The lag is 1,000 records.",
        ),
        (
            Contention("Two sessions wait for each other."),
            "Two sessions wait for each other. Restarting at the ledger's position. The lag is 1,000 records.",
        ),
    ],
)
def test_a_failure_is_logged_with_the_next_step(
    error: OrderFlowError, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    Scripted(_store_and_fail(7, error), error, error, _end).run()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [line]


def test_a_failure_is_logged_without_the_lag_of_old_positions(caplog: pytest.LogCaptureFixture) -> None:
    """A standby, or a machine that was suspended, has the positions of long ago."""
    sink = Scripted(DatabaseUnavailable("MySQL does not answer."), _end)
    sink.watch.are_positions_current = False
    sink.run()
    assert "MySQL does not answer. Retrying." in caplog.text and "lag" not in caplog.text


def test_waits_grow_to_a_limit_and_restart_after_progress() -> None:
    sink = Scripted(*[UNAVAILABLE] * 20, _store_and_fail(7, UNAVAILABLE), _end)
    sink.run()
    waits = sink.stop_event.waits
    assert waits[0] <= 0.2 and 2.5 <= waits[19] <= 5 and waits[20] <= 0.2
    assert all(wait <= 5 for wait in waits)


def test_an_operator_error_ends_the_supervisor_at_once() -> None:
    sink = Scripted(TopicRecreated("The topic was deleted and created again."), _end)
    with pytest.raises(TopicRecreated):
        sink.run()
    assert sink.reports == [] and sink.attempts_left == 1


@pytest.mark.parametrize("is_started", [False, True])
@pytest.mark.parametrize("close_error", [None, SparkUnavailable("Spark does not answer.")])
def test_a_started_engine_is_closed_when_an_error_ends_the_supervisor(
    is_started: bool, close_error: OrderFlowError | None
) -> None:
    def start_and_fail(sink: Scripted) -> None:
        sink._has_started_engine = is_started
        raise TopicRecreated("The topic was deleted and created again.")

    sink = Scripted(start_and_fail)
    sink.engine.close = mock.Mock(side_effect=close_error)  # type: ignore[method-assign]
    with pytest.raises(TopicRecreated):
        sink.run()
    assert sink.engine.close.called == is_started


@pytest.mark.parametrize("error", [INTERRUPTED, LedgerGap("A gap.")])
def test_an_engine_that_stores_nothing_is_restarted_seven_times(error: OrderFlowError) -> None:
    sink = Scripted(*[error] * 8, _end)
    with pytest.raises(EngineFailed, match="failed 8 times in a row without progress"):
        sink.run()
    assert sink.attempts_left == 1


def test_an_outage_has_no_limit() -> None:
    Scripted(*[UNAVAILABLE] * 100, _end).run()


def test_restarts_with_progress_between_them_have_no_limit() -> None:
    Scripted(*[_store_and_fail(offset, INTERRUPTED) for offset in range(100)], _end).run()


@pytest.mark.parametrize("error", [INTERRUPTED, UnknownDatabaseError("MySQL answers 9999.")])
@pytest.mark.parametrize(("seconds", "has_caught_up"), [(3600, True), (3600, False), (50, True)])
def test_a_healthy_run_ends_an_outage_although_no_record_arrived(
    clock: Clock, error: OrderFlowError, seconds: float, has_caught_up: bool
) -> None:
    def run_and_fail(sink: Scripted) -> None:
        clock.now += seconds
        sink.watch.has_caught_up = has_caught_up
        raise error

    sink = Scripted(*[run_and_fail] * 20, _end, unknown_error_timeout=10, clock=clock)
    if seconds > 60 and has_caught_up:
        sink.run()
    else:
        with pytest.raises(OperatorError):
            sink.run()


def test_an_unknown_database_error_is_retried_for_a_time() -> None:
    error = UnknownDatabaseError("MySQL answers 9999.", hint="See its manual.")
    Scripted(error, error, _end).run()
    sink = Scripted(error, error, _end, unknown_error_timeout=0)
    with pytest.raises(DatabaseRefused, match="MySQL answers 9999") as refused:
        sink.run()
    assert refused.value.hint == "See its manual."


UNKNOWN = UnknownDatabaseError("MySQL answers 9999.")


@pytest.mark.parametrize("other_end", [10**6, 0], ids=["the other has a backlog", "the other has caught up"])
def test_an_unknown_error_of_one_partition_ends_the_sink_although_another_moves(clock: Clock, other_end: int) -> None:
    positions = itertools.count(1)

    def fail(sink: Scripted) -> None:
        clock.now += 20
        position = next(positions)
        sink.start_at({0: 5, 1: position}, {0: 9, 1: other_end or position})
        raise UNKNOWN

    with pytest.raises(DatabaseRefused, match="MySQL answers 9999"):
        Scripted(*[fail] * 100, clock=clock).run()
    assert 120 < clock.now - 1000 <= 160


def test_unknown_errors_have_no_limit_while_every_partition_with_records_moves(clock: Clock) -> None:
    positions = itertools.count(1)

    def fail(sink: Scripted) -> None:
        clock.now += 20
        sink.start_at({0: 9, 1: next(positions)}, {0: 9, 1: 10**6})
        raise UNKNOWN

    Scripted(*[fail] * 100, _end, clock=clock).run()


def test_a_partition_that_waits_for_a_person_does_not_count_for_rare_unknown_errors(clock: Clock) -> None:
    """A damaged batch keeps its partition waiting for hours, and the others go on."""
    positions = itertools.count(1)

    def fail(sink: Scripted) -> None:
        clock.now += 3600
        sink.engine.damaged = {0: "a damaged batch"}
        sink.start_at({0: 5, 1: next(positions)}, {0: 9, 1: 10**6})
        raise UNKNOWN

    Scripted(*[fail] * 100, _end, clock=clock).run()


def test_an_unknown_error_that_takes_long_is_not_retried_for_ever(clock: Clock) -> None:
    """A proxy ends the statement of partition 0 after a minute, and the other partition goes on."""
    positions = itertools.count(1)

    def fail(sink: Scripted) -> None:
        clock.now += 61
        sink.start_at({0: 5, 1: next(positions)}, {0: 9, 1: 10**6})
        raise UNKNOWN

    with pytest.raises(DatabaseRefused):
        Scripted(*[fail] * 100, clock=clock).run()


@pytest.mark.parametrize("error", [UNAVAILABLE, StopRequested("A stop was requested while Spark started.")])
def test_a_requested_stop_ends_the_waiting(error: OrderFlowError) -> None:
    def stop_and_fail(sink: Scripted) -> None:
        sink.stop_event.set()
        raise error

    sink = Scripted(stop_and_fail, _end)
    sink.run()
    assert sink.attempts_left == 1 and sink.reports == []


def test_a_jvm_that_exits_during_a_stop_is_not_restarted() -> None:
    def stop_and_exit(sink: Scripted) -> None:
        sink.stop_event.set()
        raise JvmExited("Spark's JVM exited.")

    sink = Scripted(stop_and_exit, _end)
    sink.run()
    assert sink.attempts_left == 1


def test_the_supervisor_retries_after_a_full_disk() -> None:
    sink = Scripted(OSError(errno.ENOSPC, "No space left on device"), _end)
    sink.run()
    [report] = sink.reports
    assert (report.error, report.message) == ("OutOfResources", "The sink cannot continue: No space left on device.")


# One run of the engine.

INFO = TopicInfo("orders", "id", (0,))


class StartableEngine(IdleEngine):
    """Its `stop` may fail."""

    def __init__(self, stop_error: OrderFlowError | None = None) -> None:
        self._stop_error = stop_error

    def start(self, *_: Any, once: bool) -> None:
        """Begin to store."""

    def stop(self) -> None:
        if self._stop_error:
            raise self._stop_error


@pytest.fixture
def run_engine(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Supervisor]:
    """A function that runs an engine once from position 0, until the watch raises the error."""

    def run(engine: StartableEngine, *, end: int = 0, error: OrderFlowError | None = None) -> Supervisor:
        sink = Supervisor(Settings(), engine=cast(Engine, engine), clock=clock)
        sink._watch = cast(EngineWatch, FakeWatch(error))
        start = LedgerStart(INFO, "delete", {0: 0}, AccountedOffsets({}, []))
        monkeypatch.setattr(supervisor, "prepare_start", lambda *_: start)
        monkeypatch.setattr(topic, "bounds", lambda *_: {0: Bounds(0, end)})
        sink._run_engine(cast(Connection, None))
        return sink

    return run


def test_the_partitions_that_had_records_at_the_start_are_known(run_engine: Callable[..., Supervisor]) -> None:
    sink = run_engine(StartableEngine(), end=9)
    assert sink._waiting_positions() == [(0, 0)] and sink._has_started_engine
    assert run_engine(StartableEngine(), end=0)._waiting_positions() == [((0, 0),)]


def test_an_error_of_the_stop_does_not_replace_an_earlier_one(run_engine: Callable[..., Supervisor]) -> None:
    engine = StartableEngine(stop_error=SparkUnavailable("Spark does not answer."))
    with pytest.raises(TooManyQuarantined):
        run_engine(engine, error=TooManyQuarantined("All of them."))
    with pytest.raises(SparkUnavailable):
        run_engine(engine)


def test_an_outage_is_reported_before_the_engine_is_stopped(
    run_engine: Callable[..., Supervisor], caplog: pytest.LogCaptureFixture
) -> None:
    """The stop may wait for the same server."""

    class CheckedEngine(StartableEngine):
        def stop(self) -> None:
            reported_at_stop.append(caplog.text.count("Kafka does not answer. Retrying."))

    reported_at_stop: list[int] = []
    with pytest.raises(KafkaUnavailable):
        run_engine(CheckedEngine(), error=UNAVAILABLE)
    assert reported_at_stop == [1]


def test_a_second_signal_is_handled_after_a_stop_has_ended_a_restart() -> None:
    stop_event = threading.Event()
    stop_event.set()
    process_restart.restart_process(JvmExited("Spark's JVM exited."), {}, stop_event, has_failed=True)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM}
