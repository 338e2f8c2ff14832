"""How long partitions with waiting records may keep their positions."""

from __future__ import annotations

import pytest

from orderflow.pipeline.stalls import StallDetector
from orderflow.positions.ledger_status import PartitionStatus
from tests.support.clock import Clock

TIMEOUT = 150.0


def _status(*partitions: tuple[int, int]) -> list[PartitionStatus]:
    """Return the partitions with these positions and ends."""
    return [
        PartitionStatus(partition=partition, next_offset=position, end=end, lag=end - position)
        for partition, (position, end) in enumerate(partitions)
    ]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def detector(clock: Clock) -> StallDetector:
    return StallDetector(clock=clock)


def test_a_partition_is_overdue_after_the_timeout(detector: StallDetector, clock: Clock) -> None:
    detector.start({0: 7}, {0: 9})
    clock.now += TIMEOUT
    assert detector.update_and_find_overdue(_status((7, 9)), TIMEOUT) == {}
    clock.now += 1
    assert detector.update_and_find_overdue(_status((7, 20)), TIMEOUT) == {0: 9}, (
        "later records have not waited as long"
    )
    assert detector.register_stall() == TIMEOUT + 1


def test_the_first_record_of_an_idle_partition_waits_from_its_arrival(detector: StallDetector, clock: Clock) -> None:
    detector.start({0: 7}, {0: 7})
    clock.now += TIMEOUT + 1
    assert detector.update_and_find_overdue(_status((7, 8)), TIMEOUT) == {}
    clock.now += TIMEOUT
    assert detector.update_and_find_overdue(_status((7, 9)), TIMEOUT) == {}
    clock.now += 1
    assert detector.update_and_find_overdue(_status((7, 9)), TIMEOUT) == {0: 8}


def test_a_position_that_moves_restarts_the_time(detector: StallDetector, clock: Clock) -> None:
    detector.start({0: 7}, {0: 9})
    for position in range(8, 12):
        clock.now += TIMEOUT
        assert detector.update_and_find_overdue(_status((position, 20)), TIMEOUT) == {}


def test_a_partition_that_waits_while_another_moves_is_no_stall(detector: StallDetector, clock: Clock) -> None:
    detector.start({0: 7, 1: 0}, {0: 9, 1: 100})
    clock.now += TIMEOUT
    assert detector.update_and_find_overdue(_status((7, 9), (50, 100)), TIMEOUT) == {}
    clock.now += 1
    assert detector.update_and_find_overdue(_status((7, 9), (50, 100)), TIMEOUT) == {0: 9}
    assert not detector.register_stall()


def test_partitions_without_records_wait_again(detector: StallDetector, clock: Clock) -> None:
    detector.start({0: 7}, {0: 9})
    clock.now += TIMEOUT + 1
    assert detector.update_and_find_overdue(_status((7, 9)), TIMEOUT) == {0: 9}
    detector.wait_again(_status((9, 12)), [0])
    clock.now += TIMEOUT
    assert detector.update_and_find_overdue(_status((9, 12)), TIMEOUT) == {}


def test_the_timeout_doubles_with_each_stall_until_a_position_moves(detector: StallDetector, clock: Clock) -> None:
    for timeout in (TIMEOUT, 2 * TIMEOUT, 4 * TIMEOUT):
        detector.start({0: 7}, {0: 9})
        clock.now += timeout
        assert detector.update_and_find_overdue(_status((7, 9)), TIMEOUT) == {}
        clock.now += 1
        assert detector.update_and_find_overdue(_status((7, 9)), TIMEOUT) == {0: 9}
        assert detector.register_stall() == timeout + 1
    detector.start({0: 7}, {0: 9})
    assert detector.update_and_find_overdue(_status((8, 9)), TIMEOUT) == {}
    clock.now += TIMEOUT + 1
    assert detector.update_and_find_overdue(_status((8, 9)), TIMEOUT) == {0: 9}
