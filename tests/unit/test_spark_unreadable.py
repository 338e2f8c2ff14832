"""How far the Spark engine searches for records that Spark cannot read, and how it stores those before them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import pytest

from orderflow import topic
from orderflow.errors import (
    BatchDamaged,
    Interrupted,
    KafkaUnavailable,
    OffsetsLost,
    OrderFlowError,
    RestartRequired,
    StopRequested,
)
from orderflow.offsets import DamagedRange
from orderflow.pipeline import spark_unreadable
from orderflow.pipeline.direct import DirectEngine
from orderflow.pipeline.engine import DamagedPartition
from orderflow.pipeline.spark_unreadable import UnreadableRecords
from orderflow.settings import Settings
from orderflow.topic import Record, TopicInfo

INFO = TopicInfo("orders", "id", (0, 1, 2))


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
    assert unreadable.store_without_spark(INFO, positions, ends, scratch=Path(), stop_event=stop_event) == positions
    assert read == searched


def test_a_requested_stop_ends_the_search_for_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not answer may hold it for minutes."""
    is_ended, stop_event = threading.Event(), threading.Event()
    monkeypatch.setattr(topic, "find_next_damage", lambda *_: is_ended.wait(30))
    unreadable = UnreadableRecords(Settings())
    unreadable.must_search = True
    stop_event.set()
    with pytest.raises(StopRequested, match="A stop was requested"):
        unreadable.store_without_spark(INFO, {0: 0}, {0: 9}, scratch=Path(), stop_event=stop_event)
    is_ended.set()


def test_an_attempt_to_read_damage_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    is_repaired = threading.Event()
    monkeypatch.setattr(topic, "find_next_damage", lambda *_: None if is_repaired.wait(30) else "damage")
    unreadable = UnreadableRecords(Settings(), retry_interval=0)
    assert not unreadable.probe_damaged_partitions(), "nothing is damaged"
    unreadable.damaged[0] = DamagedPartition(9, BatchDamaged("CRC"))
    assert not any(unreadable.probe_damaged_partitions() for _ in range(3))
    is_repaired.set()
    _wait_for_success(unreadable)


def _wait_for_success(unreadable: UnreadableRecords) -> None:
    deadline = time.monotonic() + 30
    while not unreadable.probe_damaged_partitions():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_requested_stop_ends_the_storing_without_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads may wait for MySQL."""
    engine, stop_event, is_ended = DirectEngine(Settings()), threading.Event(), threading.Event()
    monkeypatch.setattr(engine, "_commit_until_end", lambda *_: is_ended.wait(30))
    stop_event.set()
    with pytest.raises(StopRequested, match="A stop was requested"):
        engine.commit_range(TopicInfo("orders", "id", (0,)), {0: 0}, {0: 9}, Path(), stop_event)
    is_ended.set()


def test_storing_without_spark_ends_if_nothing_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of the engine is not watched, so a hanging one would keep the sink from reporting anything."""
    engine, is_ended = DirectEngine(Settings(), stall_timeout=0.1), threading.Event()
    monkeypatch.setattr(engine, "_commit_until_end", lambda *_: is_ended.wait(30))
    with pytest.raises(Interrupted, match=r"Nothing was stored for 0.1 seconds, although orders has records"):
        engine.commit_range(INFO, {0: 0}, {0: 9}, Path(), threading.Event())
    is_ended.set()


class Stored(DirectEngine):
    """Records what it should commit."""

    ranges: list[tuple[Mapping[int, int], Mapping[int, int]]] = []

    def commit_range(
        self,
        topic_info: TopicInfo,
        positions: Mapping[int, int],
        end_offsets: Mapping[int, int],
        scratch: Path,
        stop_event: threading.Event,
    ) -> None:
        self.ranges.append((dict(positions), dict(end_offsets)))


def test_records_before_damage_and_with_a_late_timestamp_are_stored_without_spark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Partition 0 is damaged at its position, 1 after a record with a late timestamp; 2 has only such a record."""
    damage = {0: DamagedRange(0, 10, 10, 12, "CRC"), 1: DamagedRange(1, 17, 18, 20, "CRC")}

    def find(
        settings: Settings, partition: int, start: int, end: int, on_record: Callable[[Record], None] = lambda _: None
    ) -> DamagedRange | None:
        if partition:
            on_record(Record(partition, 13, 2**62, None, b""))
        return damage.get(partition)

    monkeypatch.setattr(topic, "find_next_damage", find)
    monkeypatch.setattr(spark_unreadable, "DirectEngine", Stored)
    unreadable = UnreadableRecords(Settings(), retry_interval=0)

    def store() -> Mapping[int, int]:
        positions, ends = dict.fromkeys(range(3), 10), dict.fromkeys(range(3), 30)
        return unreadable.store_without_spark(INFO, positions, ends, scratch=Path(), stop_event=threading.Event())

    assert store() == {0: 10, 1: 10, 2: 10} and not Stored.ranges, "no query has failed yet"
    unreadable.must_search = True
    assert store() == {2: 14}
    assert Stored.ranges == [({1: 10, 2: 10}, {1: 17, 2: 14})]
    assert {partition: damaged.offset for partition, damaged in unreadable.damaged.items()} == {0: 10, 1: 17}
    del damage[0]
    _wait_for_success(unreadable)


@pytest.mark.parametrize(("error", "is_readable"), [(OffsetsLost("Gone."), True), (KafkaUnavailable("Away."), False)])
def test_an_attempt_to_read_damage_ends_no_query(
    error: OrderFlowError, is_readable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After retention has removed the batch, the next start reports the loss. Kafka may only be away for a moment."""
    monkeypatch.setattr(topic, "find_next_damage", mock.Mock(side_effect=error))
    unreadable = UnreadableRecords(Settings())
    unreadable.damaged[0] = DamagedPartition(9, BatchDamaged("CRC"))
    assert unreadable._can_read_damaged() is is_readable


def test_a_search_in_removed_records_needs_another_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "find_next_damage", mock.Mock(side_effect=OffsetsLost("Gone.")))
    unreadable = UnreadableRecords(Settings())
    unreadable.must_search = True
    with pytest.raises(RestartRequired, match="Gone"):
        unreadable.store_without_spark(INFO, {0: 0}, {0: 9}, scratch=Path(), stop_event=threading.Event())
