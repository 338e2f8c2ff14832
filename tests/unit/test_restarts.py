"""After which failed runs another one is started, and how long the wait before it is."""

from __future__ import annotations

from contextlib import nullcontext
from unittest import mock

import pytest

from orderflow.errors import (
    Contention,
    DatabaseRefused,
    EngineFailed,
    Interrupted,
    KafkaUnavailable,
    LedgerGap,
    UnknownDatabaseError,
)
from orderflow.restarts import LONGEST_WAIT, MAX_FAILED_STARTS, Restarts

UNAVAILABLE = KafkaUnavailable("Kafka does not answer.")
INTERRUPTED = Interrupted("A worker died.")
UNKNOWN = UnknownDatabaseError("MySQL answers 9999.", hint="See its manual.")


@pytest.mark.parametrize("error", [INTERRUPTED, LedgerGap("A gap.")])
def test_failures_without_progress_are_limited(error: Interrupted | LedgerGap) -> None:
    restarts = Restarts("The query")
    for _ in range(MAX_FAILED_STARTS - 1):
        restarts.register_run(error, was_healthy=False)
    with pytest.raises(EngineFailed, match=f"The query failed {MAX_FAILED_STARTS} times in a row without progress: A "):
        restarts.register_run(error, was_healthy=False)


@pytest.mark.parametrize("error", [UNAVAILABLE, Contention("A deadlock.")])
def test_other_errors_have_no_limit(error: KafkaUnavailable | Contention) -> None:
    restarts = Restarts("The query")
    for _ in range(2 * MAX_FAILED_STARTS):
        restarts.register_run(error, was_healthy=False)


@pytest.mark.parametrize(("was_healthy", "has_progressed"), [(True, False), (False, True)])
def test_a_healthy_run_and_progress_begin_a_new_count(was_healthy: bool, has_progressed: bool) -> None:
    restarts = Restarts("The query")
    for _ in range(3):
        for _ in range(MAX_FAILED_STARTS - 2):
            restarts.register_run(INTERRUPTED, was_healthy=False)
        restarts.register_run(INTERRUPTED, was_healthy=was_healthy, has_progressed=has_progressed)


def test_waits_grow_to_a_limit_and_restart_after_progress() -> None:
    restarts = Restarts("The query")
    waits = [restarts.register_run(UNAVAILABLE, was_healthy=False) for _ in range(20)]
    assert waits[0] <= 0.2 and waits[-1] >= LONGEST_WAIT / 2 and max(waits) <= LONGEST_WAIT
    assert restarts.register_run(UNAVAILABLE, was_healthy=False, has_progressed=True) <= 0.2


@pytest.mark.parametrize(
    ("was_healthy", "has_progressed", "is_refused"),
    [(False, False, True), (False, True, True), (True, False, False)],
)
def test_an_unknown_error_is_retried_until_the_timeout_or_a_healthy_run(
    was_healthy: bool, has_progressed: bool, is_refused: bool
) -> None:
    restarts = Restarts("The query", unknown_error_timeout=10, clock=mock.Mock(side_effect=[0, 11]))
    restarts.register_run(UNKNOWN, was_healthy=False)
    with pytest.raises(DatabaseRefused, match="9999") if is_refused else nullcontext():
        restarts.register_run(UNKNOWN, was_healthy=was_healthy, has_progressed=has_progressed)


@pytest.mark.parametrize(
    ("positions", "is_refused"),
    [([(0, 6), (1, 3)], False), ([(0, 6), (1, 2)], True)],
    ids=["each partition has moved", "one has not"],
)
def test_an_unknown_error_is_retried_while_each_waiting_partition_moves(
    positions: list[tuple[int, int]], is_refused: bool
) -> None:
    restarts = Restarts("The sink", unknown_error_timeout=10, clock=mock.Mock(side_effect=[0, 11]))
    restarts.register_run(UNKNOWN, was_healthy=False, positions=[(0, 5), (1, 2)])
    with pytest.raises(DatabaseRefused) if is_refused else nullcontext():
        restarts.register_run(UNKNOWN, was_healthy=False, positions=positions)


def test_another_error_restarts_the_time_of_an_unknown_one() -> None:
    restarts = Restarts("The query", unknown_error_timeout=10, clock=mock.Mock(side_effect=[0, 11]))
    for error in (UNKNOWN, UNAVAILABLE, UNKNOWN):
        restarts.register_run(error, was_healthy=False)
