"""What the watch does while an engine runs: progress, stalls, offsets without records, and quarantined records."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, cast

import pytest

from orderflow import topic
from orderflow.errors import BatchDamaged, Interrupted, RestartRequired, TooManyQuarantined, TopicRecreated
from orderflow.pipeline import engine_watch
from orderflow.pipeline.engine import DamagedPartition, Engine
from orderflow.pipeline.engine_watch import EngineWatch, SinkProgress
from orderflow.positions.ledger_status import TopicBounds
from orderflow.positions.start_checks import AccountedOffsets, LedgerStart
from orderflow.settings import Settings
from orderflow.store import ledger
from orderflow.store.connection import Connection
from orderflow.store.ledger import LedgerEntry
from orderflow.topic import Bounds, TopicInfo
from tests.support.clock import Clock

CONNECTION = cast(Connection, None)
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


class QueryResult(NamedTuple):
    """What a query of ledger and topic finds for partition 0: position, end, and the quarantined records."""

    position: int
    end: int
    quarantined: int = 0


class FakeEngine:
    """Runs until `wait` was called `waits` times."""

    def __init__(self, waits: int = 10**6) -> None:
        self.damaged: dict[int, DamagedPartition] = {}
        self.is_stalled = self.is_drained = self.must_restart = False
        self._waits = waits

    def wait(self, seconds: float) -> bool:
        self._waits -= 1
        return self._waits < 0

    def damaged_partitions(self) -> Mapping[int, DamagedPartition]:
        return self.damaged

    def activity(self) -> str:
        return "reading"

    def stall_timeout(self) -> float:
        return 150

    def mark_stalled(self) -> None:
        self.is_stalled = True

    def update_trigger(self, lag: int) -> bool:
        return self.must_restart

    def progress(self) -> None:
        return None

    def drain(self, seconds: float) -> None:
        self.is_drained = True


class FakeSystem:
    """Ledger and topic. Each query takes 10 seconds and returns the next result; the last one stays.

    With `has_busy_partition`, there is also a partition 1, which moves with each query and has no lag.
    """

    def __init__(self, clock: Clock, query_results: list[QueryResult], *, has_busy_partition: bool) -> None:
        self.holds_records = True
        self.topic_id = "id"  # at a check of the id
        self.ledger_topic_id = "id"
        self.skipped_ranges: list[tuple[int, int, int]] = []  # partition, start, end
        self._clock = clock
        self._query_results = [query_results[0], query_results[0], *query_results]  # before the start, and at the start
        self._has_busy_partition = has_busy_partition
        self._queries = 0

    @property
    def bounds(self) -> dict[int, Bounds]:
        busy = {1: Bounds(0, self._queries)} if self._has_busy_partition else {}
        return {0: Bounds(0, self._query_results[0].end)} | busy

    @property
    def positions(self) -> dict[int, int]:
        return {0: self._query_results[0].position} | ({1: self._queries} if self._has_busy_partition else {})

    @property
    def topic_info(self) -> TopicInfo:
        return TopicInfo("orders", "id", tuple(self.bounds))

    def read_entries(self, *_args: object) -> list[LedgerEntry]:
        self._clock.now += 10
        self._queries += 1
        if len(self._query_results) > 1:
            del self._query_results[0]
        position, _, quarantined = self._query_results[0]
        entry = LedgerEntry(
            "orders", 0, self.ledger_topic_id, 0, position, position - quarantined, 0, quarantined, 0, MOMENT
        )
        return [entry._replace(partition=partition, next_offset=offset) for partition, offset in self.positions.items()]


class Watched(NamedTuple):
    watch: EngineWatch
    system: FakeSystem
    reports: list[SinkProgress]
    stop_event: threading.Event

    def run(self) -> bool:
        """Start at the system's positions, and watch the engine until its end."""
        info, positions, bounds = self.system.topic_info, self.system.positions, self.system.bounds
        self.watch.set_start(CONNECTION, LedgerStart(info, None, positions, AccountedOffsets({}, [])))
        end_offsets = {partition: bound.end for partition, bound in bounds.items()}
        return self.watch.wait_for_end(CONNECTION, info, end_offsets, self.stop_event)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watched(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watched]:
    """Return a function that makes a watch of an engine and a system with these query results."""

    def make(engine: FakeEngine, *query_results: QueryResult, has_busy_partition: bool = False) -> Watched:
        system = FakeSystem(clock, list(query_results), has_busy_partition=has_busy_partition)
        monkeypatch.setattr(ledger, "read_entries", system.read_entries)
        monkeypatch.setattr(engine_watch, "describe_topic", lambda *_: system.topic_info)
        monkeypatch.setattr(engine_watch, "read_topic_bounds", lambda *_: TopicBounds("id", system.bounds))
        monkeypatch.setattr(topic, "holds_records", lambda *_: system.holds_records)
        monkeypatch.setattr(topic, "request_description", lambda _: lambda: TopicInfo("orders", system.topic_id, (0,)))
        monkeypatch.setattr(ledger, "advance_past_empty", lambda *args: system.skipped_ranges.append(args[3:]))
        reports: list[SinkProgress] = []
        settings = Settings(kafka_topic="orders")
        watch = EngineWatch(settings, cast(Engine, engine), reports.append, clock=clock)
        return Watched(watch, system, reports, threading.Event())

    return make


Watch = Callable[..., Watched]


def test_records_that_wait_for_the_whole_time_are_a_stall(watched: Watch) -> None:
    engine = FakeEngine()
    with pytest.raises(Interrupted, match="stored for 160 seconds, although orders partition 0 has records from"):
        watched(engine, QueryResult(7, 9)).run()
    assert engine.is_stalled


def test_a_new_record_is_not_a_stall(watched: Watch) -> None:
    idle, arrived, stored = QueryResult(7, 7), QueryResult(7, 8), QueryResult(8, 8)
    assert not watched(FakeEngine(waits=100), *[idle] * 15, arrived, arrived, *[stored] * 60).run()


def test_a_partition_that_waits_for_others_is_not_a_stall(watched: Watch) -> None:
    query_results = [*[QueryResult(7, 9)] * 80, QueryResult(9, 9)]
    assert not watched(FakeEngine(waits=100), *query_results, has_busy_partition=True).run()


@pytest.mark.parametrize("has_busy_partition", [False, True])
def test_the_ledger_moves_past_a_tail_without_records(watched: Watch, has_busy_partition: bool) -> None:
    query_results = [*[QueryResult(7, 9)] * 20, QueryResult(9, 9)]
    idle = watched(FakeEngine(waits=60), *query_results, has_busy_partition=has_busy_partition)
    idle.system.holds_records = False
    assert not idle.run()
    assert idle.system.skipped_ranges == [(0, 7, 9)]


def test_the_ledger_moves_past_a_tail_without_records_at_the_end(watched: Watch) -> None:
    ended = watched(FakeEngine(waits=0), QueryResult(3, 4))
    ended.system.holds_records = False
    assert not ended.run()
    assert ended.system.skipped_ranges == [(0, 3, 4)]


def test_with_once_only_the_first_ends_count(watched: Watch) -> None:
    once = watched(FakeEngine(waits=1), QueryResult(3, 4), QueryResult(4, 8))
    assert not once.run()
    assert once.system.skipped_ranges == [], "the record at offset 3 is stored, and later ones are not the task"
    assert "lag 4" in once.reports[-1].message


def test_the_ledger_does_not_move_in_a_recreated_topic(watched: Watch) -> None:
    recreated = watched(FakeEngine(), QueryResult(7, 9))
    recreated.system.holds_records = False
    recreated.system.topic_id = "another id"
    with pytest.raises(TopicRecreated):
        recreated.run()
    assert recreated.system.skipped_ranges == []


def test_an_engine_that_ends_before_everything_is_stored_has_failed(watched: Watch) -> None:
    with pytest.raises(Interrupted, match="has ended, although orders partition 0 has records from offset 3 on"):
        watched(FakeEngine(waits=0), QueryResult(3, 4)).run()


def test_too_many_quarantined_records_are_an_error(watched: Watch) -> None:
    healthy = [QueryResult(100 * count, 10**6) for count in range(1, 20)]
    quarantining = [QueryResult(1900 + 100 * count, 10**6, 100 * count) for count in range(1, 200)]
    with pytest.raises(TooManyQuarantined, match=r"of the last [0-9,]+ records of topic orders were quarantined\."):
        watched(FakeEngine(), *healthy, *quarantining).run()


def test_tables_that_were_restored_have_no_share_of_quarantined_records(watched: Watch) -> None:
    healthy = [QueryResult(100 * count, 10**6) for count in range(1, 20)]
    query_results = [*healthy, *[QueryResult(50, 10**6)] * 3, QueryResult(1850, 1850, 500)]
    restored = watched(FakeEngine(waits=60), *query_results)
    restored.system.holds_records = False
    assert not restored.run()


def test_the_end_of_an_outage_is_logged_once(watched: Watch, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """It ends when a record is stored, or when everything is."""
    caplog.set_level("INFO")
    waiting = watched(FakeEngine(waits=5), QueryResult(7, 9), QueryResult(7, 9), QueryResult(8, 9), QueryResult(9, 9))
    waiting.watch.mark_failed()
    clock.now += 4
    waiting.watch.mark_failed()
    waiting.run()
    lines = [line for line in caplog.messages if "works again" in line]
    assert lines == ["The sink works again, 44 seconds after the first failure."]


@pytest.mark.parametrize("end", [9, 10])
def test_an_attempt_has_caught_up_at_a_lag_of_0(watched: Watch, end: int) -> None:
    attempt = watched(FakeEngine(waits=3), QueryResult(7, 9), QueryResult(9, end))
    attempt.run()
    assert attempt.watch.positions == {0: 9} and attempt.watch.has_caught_up == (end == 9)
    attempt.watch.begin_attempt()
    assert not attempt.watch.has_caught_up


def test_an_unknown_lag_is_not_a_lag_of_0(watched: Watch) -> None:
    """The tables were restored with a ledger of another topic."""
    attempt = watched(FakeEngine(waits=3), QueryResult(9, 9))
    attempt.system.ledger_topic_id = "another"
    attempt.run()
    assert not attempt.watch.has_caught_up
    assert "lag unknown" in attempt.reports[-1].message


def test_a_requested_stop_waits_for_the_current_batch(watched: Watch) -> None:
    engine = FakeEngine()
    stopping = watched(engine, QueryResult(7, 9))
    stopping.stop_event.set()
    assert not stopping.run()
    assert engine.is_drained and stopping.reports == []


def test_the_engine_decides_about_a_restart(watched: Watch) -> None:
    engine = FakeEngine()
    engine.must_restart = True
    assert watched(engine, QueryResult(7, 9)).run()


def test_a_damaged_partition_is_logged_once_a_minute_until_its_loss_is_accepted(
    watched: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine()
    engine.damaged = {0: DamagedPartition(7, BatchDamaged("A batch is damaged.", hint="Restore it."))}
    with pytest.raises(RestartRequired, match="The loss of the damaged batch in orders partition 0 at offset 7"):
        watched(engine, *[QueryResult(7, 20)] * 13, QueryResult(9, 20)).run()
    line = "A batch is damaged. The other partitions continue. Restore it."
    assert [message for message in caplog.messages if "damaged" in message] == [line] * 3


@pytest.mark.parametrize(("age", "is_current"), [(10, True), (11, False), (-1, False)])
def test_positions_are_current_for_two_intervals_of_the_wall_clock(age: float, is_current: bool) -> None:
    """A standby, or a machine that was suspended, has the positions of long ago."""
    wall_clock = Clock()
    watch = EngineWatch(Settings(), cast(Engine, FakeEngine()), lambda _: None, wall_clock=wall_clock)
    watch._set_positions({0: 7})
    wall_clock.now += age
    assert watch.has_current_positions() == is_current
