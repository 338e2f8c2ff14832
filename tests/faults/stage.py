"""One running system into which a file's tests inject one fault after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random

import pytest

from tests.faults.actions import ENGINES, FAULTS
from tests.faults.registry import RESTARTING, SUBJECTS
from tests.faults.system import Engine, Servers, System

LARGE = "producers_queue_full"  # it would slow down every later audit, so its test is the last
# Only the producers or the store are affected by these faults. The direct engine, which starts in 1 s, covers both.
_SAME_FOR_BOTH_ENGINES = {
    *("producer_killed_mid_send", "acknowledgements_lost", "producers_line_half_closed", "producers_line_slow"),
    *("transaction_aborted_and_committed", "transactional_producer_killed", "garbage", "broker_restarted"),
    *("sinks_line_to_kafka_cut", "database_restarted", "database_line_cut", "commit_lost", "database_disk_full"),
    *("database_read_only", "too_many_connections", "lock_timeout", "local_infile_switched_off"),
    *("clock_set_back", "summer_time_begins_and_ends", "temporary_space_full", "trigger_refuses_orders"),
    "ledger_in_myisam",
}
_RETRIED_WITHOUT_RESTART = ("deadlock", "lock_timeout")
FAULT_NAMES: dict[Engine, list[str]] = {
    "direct": [name for name in FAULTS if "direct" in ENGINES[name] and name != LARGE],
    "spark": [name for name in FAULTS if "spark" in ENGINES[name] and name not in _SAME_FOR_BOTH_ENGINES],
}


def fault_names(engine: Engine, *subjects: str) -> list[str]:
    """Return the faults of these modules of actions/ that are tests of the engine."""
    return [name for name in FAULT_NAMES[engine] if SUBJECTS[name] in subjects]


class Stage:
    """The running system of a file. After a failure, the next test uses a new one."""

    def __init__(self, servers: Servers, name: str, engine: Engine) -> None:
        self._servers = servers
        self._name = name
        self._engine = engine
        self._stack = ExitStack()
        self._system: System | None = None
        self._count = 0

    def system(self) -> System:
        if self._system is None:
            self._count += 1
            name = f"{self._name}{self._count}"
            system = System(self._servers, name, self._engine, Random(self._count))
            self._system = self._stack.enter_context(system)
        return self._system

    def close(self) -> None:
        self._system = None
        self._stack.close()

    def inject(self, fault: str) -> None:
        """Inject the fault, and prove that nothing was lost or duplicated."""
        with self.lent() as system:
            FAULTS[fault](system)
            system.prove()
            assert fault not in _RETRIED_WITHOUT_RESTART or not system.has_logged(RESTARTING)

    @contextmanager
    def lent(self) -> Iterator[System]:
        """Yield the system. If the block fails, show the sink's log and end the system."""
        system = self.system()
        system.mark()
        try:
            yield system
        except pytest.skip.Exception:  # the database cannot have this fault
            raise
        except BaseException:
            print("\n".join(system.sink.last_lines(60)))
            self.close()
            raise

    def drain(self) -> None:
        """End the system. The independent count must agree with the audit."""
        system = self.system()
        system.send_garbage()
        assert system.drain().quarantined
        self.close()
