"""Named locks of the server. A lock ends with the session that holds it. In a cluster, it covers one node only."""

from __future__ import annotations

import hashlib

from orderflow.store.connection import Connection


def lock_name(connection: Connection, purpose: str, tables: str, detail: str = "") -> str:
    """Return the lock's name for these tables, which the server may compare case-insensitively.

    It has a hash of `tables` and `detail`, because MySQL allows 64 characters.
    """
    compared = tables.lower() if ignores_case(connection) else tables
    return f"{purpose} {hashlib.sha256(f'{compared}{detail}'.encode()).hexdigest()[:40]}"


def acquire(connection: Connection, name: str, seconds: float) -> bool:
    """Acquire the lock, waiting up to `seconds`. Return whether this session holds it."""
    return bool(connection.execute("acquire_lock", {"name": name, "seconds": seconds}).rows[0][0])


def holder(connection: Connection, name: str) -> int | None:
    """Return the id of the session that holds the lock, as in SHOW PROCESSLIST; None if no session does."""
    return connection.execute("select_lock_holder", {"name": name}).rows[0][0]  # type: ignore[no-any-return]


def ignores_case(connection: Connection) -> bool:
    """Return whether the server compares the names of databases and tables case-insensitively."""
    return bool(connection.execute("select_name_case").rows[0][0])
