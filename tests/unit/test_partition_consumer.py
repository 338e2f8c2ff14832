"""Which of its waiting records a consumer takes first."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.pipeline.partition_consumer import count_oldest


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
