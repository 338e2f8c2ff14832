"""Every fault as a test of its own, done one after the other to one running system per engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from random import Random

import pytest

from tests.faults.actions import ACTIONS, ENGINES
from tests.faults.system import Engine, Servers, System


class Stage:
    """The running system of an engine; after a failure the next test gets a new one."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._stack = ExitStack()
        self._system: System | None = None
        self._count = 0

    def system(self, engine: Engine) -> System:
        if self._system is None or self._system.engine != engine:
            self.close()
            self._count += 1
            system = System(self._servers, f"stage{self._count}", engine, Random(self._count))
            self._system = self._stack.enter_context(system)
        return self._system

    def close(self) -> None:
        self._system = None
        self._stack.close()


@pytest.fixture(scope="module")
def stage(fault_servers: Servers) -> Iterator[Stage]:
    stage = Stage(fault_servers)
    yield stage
    stage.close()


_LARGE = "producers_queue_full"  # it would make each later audit long
# Producers and store alone meet these: the engine that starts in a second stands for both. The runner draws them all.
_ENGINE_ALL_THE_SAME = {
    *("producer_killed_mid_send", "acknowledgements_lost", "producers_line_half_closed", "producers_line_slow"),
    *("transaction_aborted_and_committed", "transactional_producer_killed", "garbage", "broker_restarted"),
    *("sinks_line_to_kafka_cut", "database_restarted", "database_line_cut", "commit_lost", "database_disk_full"),
    *("database_read_only", "too_many_connections", "deadlock", "lock_timeout", "local_infile_switched_off"),
    *("clock_set_back", "summer_time_begins_and_ends"),
}
_CASES = [
    (engine, name)
    for engine in ("direct", "spark")
    for name in ACTIONS
    if engine in ENGINES[name] and name != _LARGE and not (engine == "spark" and name in _ENGINE_ALL_THE_SAME)
]


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        pytest.param(engine, name, id=f"{engine}-{name}", marks=[pytest.mark.long] if engine == "spark" else [])
        for engine, name in _CASES
    ],
)
def test_nothing_is_lost_or_doubled(stage: Stage, engine: Engine, name: str) -> None:
    _strike(stage, engine, name)


@pytest.mark.parametrize("engine", ["direct", pytest.param("spark", marks=pytest.mark.long)])
def test_the_independent_count_agrees(stage: Stage, engine: Engine) -> None:
    """At the end of all that was done to it."""
    system = stage.system(engine)
    system.send_garbage()
    assert system.drain().quarantined
    stage.close()


def test_producers_queue_full(stage: Stage) -> None:
    _strike(stage, "direct", _LARGE)


def _strike(stage: Stage, engine: Engine, name: str) -> None:
    system = stage.system(engine)
    system.mark()
    try:
        ACTIONS[name](system)
        system.prove()
    except BaseException:
        print("\n".join(system.sink.last_lines(60)))
        stage.close()
        raise
