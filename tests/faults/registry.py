"""The faults by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import mysql.connector

from tests.faults.system import Engine, Fault, System

FAULTS: dict[str, Fault] = {}
ENGINES: dict[str, Sequence[Engine]] = {}
SUBJECTS: dict[str, str] = {}  # each fault's module in actions/
WAITING = " Retrying."  # what the sink logs when it waits for a server
RESTARTING = "Restarting at the ledger's position"  # what it logs when its engine has failed


def action(*engines: Engine) -> Callable[[Fault], Fault]:
    """Register a fault under its function's name, for these engines; without arguments, for both."""

    def register_function(fault: Fault) -> Fault:
        register(fault.__name__, fault, engines)
        return fault

    return register_function


def register(name: str, fault: Fault, engines: Sequence[Engine] = ()) -> None:
    FAULTS[name], ENGINES[name] = fault, engines or ("spark", "direct")
    module = (fault.func if isinstance(fault, partial) else fault).__module__
    SUBJECTS[name] = module.rpartition(".")[2]


def is_stored(system: System, number: int) -> bool:
    return system.sql(f"SELECT COUNT(*) FROM orders WHERE order_id = 'ORDER-{number}'") == [(1,)]


def end_sessions(system: System, oldest: int | None = None) -> None:
    """End sessions of the sink's user, as the server's administrator."""
    sessions = system.sql(
        f"SELECT id FROM information_schema.processlist WHERE user = '{system.settings.mysql_user}' ORDER BY id"
    )
    for (session,) in sessions[:oldest]:
        with suppress(mysql.connector.DatabaseError):  # it has ended in the meantime
            system.sql(f"KILL {session}")
