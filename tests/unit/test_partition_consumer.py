"""Which of its waiting records a consumer takes first, and which partitions it reads."""

from __future__ import annotations

import threading
from random import Random
from typing import NamedTuple
from unittest import mock

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from orderflow import topic
from orderflow.pipeline.engine import DamagedPartition
from orderflow.pipeline.partition_consumer import PartitionConsumer, count_oldest
from orderflow.settings import Settings


class Record(NamedTuple):
    milliseconds: int

    def timestamp(self) -> tuple[int, int]:
        return 1, self.milliseconds


def counts(times: dict[int, list[int]], limit: int) -> dict[int, int]:
    return count_oldest({part: [Record(time) for time in part_times] for part, part_times in times.items()}, limit)  # type: ignore[misc]


@given(st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 60), min_size=1, max_size=90), min_size=1))
def test_some_records_are_taken_and_never_too_many(times: dict[int, list[int]]) -> None:
    taken = counts(times, 64)
    assert taken.keys() == times.keys()
    assert all(0 <= taken[part] <= len(times[part]) for part in times)
    assert 0 < sum(taken.values()) <= 64
    if sum(map(len, times.values())) <= 64:
        assert taken == {part: len(part_times) for part, part_times in times.items()}


@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_taken_records_are_older_than_the_others(partitions: int) -> None:
    rng = Random(partitions)
    times: dict[int, list[int]] = {part: [] for part in range(partitions)}
    for time in range(20_000):
        times[rng.randrange(partitions)].append(time // 7)
    taken = counts(times, 5_000)
    assert 4_500 < sum(taken.values()) <= 5_000
    newest = max(part_times[taken[part] - 1] for part, part_times in times.items())
    assert newest < min(part_times[taken[part]] for part, part_times in times.items())


def test_a_partition_that_is_far_behind_is_taken_first() -> None:
    taken = counts({0: [*range(9_000, 12_000)], 1: [*range(1_000, 4_000)]}, 2_000)
    assert taken[0] == 0 and taken[1] > 1_900


def test_records_without_times_are_taken_from_all_partitions() -> None:
    assert counts({0: [-1] * 900, 1: [-1] * 900}, 1_000) == {0: 500, 1: 500}


def _message(partition: int, offset: int, code: int | None = None) -> mock.Mock:
    error = None if code is None else KafkaError(code)
    message = mock.Mock(**{"partition.return_value": partition, "offset.return_value": offset})
    message.configure_mock(**{"error.return_value": error, "timestamp.return_value": (1, offset)})
    return message


class Scripted:
    """A Kafka client that delivers these messages, one list at each call. It records what is assigned."""

    def __init__(self, *messages: list[mock.Mock]) -> None:
        self._messages = list(messages)
        self.assigned: dict[int, int] = {}

    def assign(self, _: object) -> None:
        self.assigned = {}

    def incremental_assign(self, partitions: list[mock.Mock]) -> None:
        self.assigned |= {partition.partition: partition.offset for partition in partitions}

    def incremental_unassign(self, partitions: list[mock.Mock]) -> None:
        for partition in partitions:
            del self.assigned[partition.partition]

    def consume(self, limit: int, seconds: float) -> list[mock.Mock]:
        return self._messages.pop(0) if self._messages else []

    def close(self) -> None:
        pass


def _read(
    client: Scripted, monkeypatch: pytest.MonkeyPatch, end_offsets: dict[int, int] | None = None
) -> tuple[PartitionConsumer, dict[int, DamagedPartition]]:
    monkeypatch.setattr(topic, "consumer", lambda *_, **__: client)
    damaged: dict[int, DamagedPartition] = {}
    reader = mock.Mock(settings=Settings())
    consumer = PartitionConsumer(reader, {0: 5, 1: 5}, end_offsets, threading.Event(), damaged, retry_interval=0)
    return consumer, damaged


def _offsets(consumer: PartitionConsumer) -> list[tuple[int, int]]:
    batch = consumer.next_batch()
    assert batch
    with batch[0]:
        return [(message.partition(), message.offset()) for message in batch[1]]  # type: ignore[misc]


def test_a_damaged_partition_is_read_again_after_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    damage = _message(0, 6, KafkaError._BAD_MSG)
    # After damage librdkafka continues at a wrong byte, so its next record is ignored.
    client = Scripted([_message(0, 5)], [damage, _message(0, 9), _message(1, 5)], [_message(1, 6)], [_message(0, 6)])
    consumer, damaged = _read(client, monkeypatch)
    assert _offsets(consumer) == [(0, 5), (1, 5)]
    assert damaged.keys() == {0} and damaged[0].offset == 6 and client.assigned == {1: 5}
    assert _offsets(consumer) == [(1, 6), (0, 6)]
    assert client.assigned == {0: 6, 1: 5} and not damaged


def test_a_partition_is_not_read_past_its_end_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    damage = _message(1, 5, KafkaError._BAD_MSG)
    client = Scripted([_message(0, 5)], [_message(0, 6), damage], [_message(0, 7)])
    consumer, damaged = _read(client, monkeypatch, {0: 6, 1: 9})
    assert _offsets(consumer) == [(0, 5)]
    assert not client.assigned and damaged.keys() == {1}
    assert consumer.next_batch() is None, "damage is not retried, and both partitions are done"
