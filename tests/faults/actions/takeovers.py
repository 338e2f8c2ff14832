"""Faults with several sinks: one takes over from another, or from a worker that still runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from tests.faults.registry import RESTARTING, action, end_sessions, is_stored
from tests.faults.system import System, stopped
from tests.support.processes import until


@action()
def zombie_whose_session_has_ended(system: System) -> None:
    """A worker stops before its COMMIT, and its session ends. Another sink continues, then the worker resumes."""
    with _zombie(system, "commit.before"):
        end_sessions(system)
        system.until_caught_up()


@action("spark")
def zombie_that_holds_its_locks(system: System) -> None:
    """A worker stops before its COMMIT, and another sink waits for its locks. The worker then resumes and commits."""
    with _zombie(system, "commit.before") as zombie:
        # In real-time mode, a worker ends with its driver, which releases its locks.
        until(lambda: system.has_logged(RESTARTING) or not zombie.is_running(), system.sink)


@action()
def zombie_that_awakes_late(system: System) -> None:
    """A worker stops before it stores a batch, and another sink stores the batch. Then the worker tries to."""
    producers = [system.producer.identity[0], system.transactional.identity[0]]
    number = system.rng.randrange(10**9, 10**12)
    with stopped(*producers):
        system.until_caught_up()
        with _zombie(system, "lock_ledger.before", lambda: system.send(number, 1, partition=0)):
            if system.engine == "direct":
                end_sessions(system, oldest=1)  # the leader's; the worker's session stays open
            until(lambda: is_stored(system, number), system.sink)


@contextmanager
def _zombie(system: System, point: str, provoke: Callable[[], None] = lambda: None) -> Iterator[psutil.Process]:
    """Stop a worker at this point, start another sink, and resume the worker at the end."""
    former, spark = system.sink, system.engine == "spark"
    system.plan(point, "hold" if spark else "stop")
    provoke()
    zombie = psutil.Process(system.until_taken())
    if spark:
        former.kill()
    system.replace_sink()
    try:
        yield zombie
    finally:
        assert zombie.is_running() or system.may_be_realtime
        if spark:
            (system.plans / "awake").touch()
            psutil.wait_procs([zombie], timeout=60)
            (system.plans / "awake").unlink()
        else:
            zombie.resume()
            until(lambda: b"Another sink is active" in former.log.read_bytes(), former)
            former.kill()
        assert not zombie.is_running()


@action()
def second_sink_takes_over_then_a_third(system: System) -> None:
    for _ in range(2):
        system.until_it_stores()  # so it is the active sink
        former = system.sink
        system.replace_sink()
        system.wait_for_log("Another sink is active")
        former.kill()
        system.until_it_stores()


@action()
def leadership_lost(system: System) -> None:
    """The first sink's sessions end while a second waits: for a moment, both act as the active one."""
    system.until_it_stores()  # so it is the active sink
    former = system.sink
    system.replace_sink()
    system.wait_for_log("Another sink is active")
    end_sessions(system)
    system.until_it_stores()
    former.kill()
