"""Which errors the sink waits for, after how many it gives up, and which end it at once."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from orderflow.errors import (
    Contention,
    DatabaseRefused,
    EngineFailed,
    Interrupted,
    KafkaUnavailable,
    LedgerGap,
    OrderFlowError,
    TopicRecreated,
    UnknownDatabaseError,
)
from orderflow.pipeline.engine import Engine, JvmExited
from orderflow.pipeline.supervisor import Progress, Supervisor
from orderflow.settings import Settings

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

    def open(self, scratch: Path) -> None:
        assert scratch.is_dir()

    def close(self) -> None:
        pass


class Scripted(Supervisor):
    """A supervisor whose attempts to run as leader have the given results, one after the other."""

    def __init__(self, *attempts: Attempt, **options: Any) -> None:
        self.reports: list[Progress] = []
        engine = cast(Engine, IdleEngine())
        super().__init__(Settings(), engine=engine, on_progress=self.reports.append, **options)
        self._attempts = list(attempts)
        self.stop_event = self._stop_event = Event()

    def store_until(self, offset: int) -> None:
        self._positions = {0: offset}

    def _run_as_leader(self) -> None:
        attempt = self._attempts.pop(0)
        if isinstance(attempt, BaseException):
            raise attempt
        attempt(self)

    def _log_waiting(self, error: OrderFlowError) -> None:
        """The base class asks Kafka for the lag."""

    @property
    def attempts_left(self) -> int:
        return len(self._attempts)


def _end(_: Scripted) -> None:
    """The attempt ends as with `once`."""


def _store_and_fail(offset: int, error: OrderFlowError) -> Callable[[Scripted], None]:
    def attempt(supervisor: Scripted) -> None:
        supervisor.store_until(offset)
        raise error

    return attempt


UNAVAILABLE = KafkaUnavailable("Kafka does not answer.")
INTERRUPTED = Interrupted("The engine hangs.")


@pytest.mark.parametrize("error", [UNAVAILABLE, INTERRUPTED, LedgerGap("A gap."), Contention("A lock.")])
def test_it_waits_for_what_passes_and_reports_it(error: OrderFlowError) -> None:
    sink = Scripted(error, error, _end)
    sink.run()
    assert [(report.state, report.message) for report in sink.reports] == [("waiting", error.message)] * 2
    assert {report.error for report in sink.reports} == {type(error).__name__}


def test_the_waits_grow_up_to_a_limit_and_are_short_again_after_progress() -> None:
    sink = Scripted(*[UNAVAILABLE] * 20, _store_and_fail(7, UNAVAILABLE), _end)
    sink.run()
    waits = sink.stop_event.waits
    assert waits[0] <= 0.2 and 2.5 <= waits[19] <= 5 and waits[20] <= 0.2
    assert all(wait <= 5 for wait in waits)


def test_what_a_person_must_fix_ends_it_at_once() -> None:
    sink = Scripted(TopicRecreated("The topic was deleted and created again."), _end)
    with pytest.raises(TopicRecreated):
        sink.run()
    assert sink.reports == [] and sink.attempts_left == 1


@pytest.mark.parametrize("error", [INTERRUPTED, LedgerGap("A gap.")])
def test_an_engine_that_stores_nothing_is_restarted_seven_times(error: OrderFlowError) -> None:
    sink = Scripted(*[error] * 8, _end)
    with pytest.raises(EngineFailed, match="failed 8 times in a row at the same position"):
        sink.run()
    assert sink.attempts_left == 1


def test_an_outage_has_no_limit() -> None:
    Scripted(*[UNAVAILABLE] * 100, _end).run()


def test_restarts_with_progress_between_them_have_no_limit() -> None:
    Scripted(*[_store_and_fail(offset, INTERRUPTED) for offset in range(100)], _end).run()


def test_an_unknown_database_error_is_retried_for_a_time() -> None:
    error = UnknownDatabaseError("MySQL answers 9999.", hint="See its manual.")
    Scripted(error, error, _end).run()
    sink = Scripted(error, error, _end, unknown_error_timeout=0)
    with pytest.raises(DatabaseRefused, match="MySQL answers 9999") as refused:
        sink.run()
    assert refused.value.hint == "See its manual."


def test_a_requested_stop_ends_the_waiting() -> None:
    def stop_and_fail(sink: Scripted) -> None:
        sink.stop_event.set()
        raise UNAVAILABLE

    sink = Scripted(stop_and_fail, _end)
    sink.run()
    assert sink.attempts_left == 1 and sink.reports == []


def test_a_jvm_that_a_stop_has_ended_is_not_restarted() -> None:
    def stop_and_exit(sink: Scripted) -> None:
        sink.stop_event.set()
        raise JvmExited("Spark's JVM exited.")

    sink = Scripted(stop_and_exit, _end)
    sink.run()
    assert sink.attempts_left == 1


def test_a_shortage_of_the_machine_is_waited_for() -> None:
    sink = Scripted(OSError(errno.ENOSPC, "No space left on device"), _end)
    sink.run()
    [report] = sink.reports
    assert (report.error, report.message) == ("OutOfResources", "The sink cannot continue: No space left on device.")
