"""The faults by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import mysql.connector

from tests.faults.system import Act, Engine, System

ACTIONS: dict[str, Act] = {}
ENGINES: dict[str, Sequence[Engine]] = {}
WAITING = " Retrying."  # what the sink logs when it waits for a server
RESTARTING = "Restarting at the ledger's position"  # what it logs when its engine has failed


def action(*engines: Engine) -> Callable[[Act], Act]:
    """Register a fault under its function's name, for these engines; without arguments, for both."""

    def register_function(act: Act) -> Act:
        register(act.__name__, act, engines)
        return act

    return register_function


def register(name: str, act: Act, engines: Sequence[Engine] = ()) -> None:
    ACTIONS[name], ENGINES[name] = act, engines or ("spark", "direct")


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
