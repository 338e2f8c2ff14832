"""The database server as the doctor sees it. Nothing here changes anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from orderflow.errors import DatabaseRefused
from orderflow.settings import Settings
from orderflow.store import statements
from orderflow.store.connection import Connection

# What the sink and the audit run once the tables are there, and how many values a row of it has.
_RUN = {
    "select_orders": 0,
    "insert_orders": 12,
    "open_ledger": 0,
    "advance_ledger": 10,
    "lock_ledger": 0,
    "insert_quarantine": 13,
    "insert_part": 0,
    "insert_loss": 0,
    "insert_audit": 0,
    "add_by_minute": 6,
}
_INDEXED = {"customer_id": "idx_customer", "order_timestamp": "idx_timestamp"}


class Server(NamedTuple):
    """What the server says of itself. `now` in UTC, naive."""

    version: str
    local_infile: bool
    sql_mode: str
    flush_log_at_commit: int
    log_bin: bool
    sync_binlog: int
    now: datetime

    @property
    def is_mariadb(self) -> bool:
        """Whether it is MariaDB, not MySQL."""
        return "mariadb" in self.version.lower()

    @property
    def release(self) -> tuple[int, ...]:
        """The version's numbers."""
        found = re.match(r"\d+(\.\d+)*", self.version)
        return tuple(map(int, found[0].split("."))) if found else ()


def ask(settings: Settings) -> Server:
    """The server's version and settings.

    Raises DatabaseUnavailable or DatabaseRefused.
    """
    with Connection(settings, database=False) as connection:
        return Server(*connection.run("select_server").rows[0])


def encryption(settings: Settings) -> str:
    """The TLS version that connections use, empty where they are in plain text."""
    with Connection(settings, database=False) as connection:
        return str(connection.run("show_encryption").rows[0][1])


def refusals(settings: Settings, creating: Iterable[str] = ()) -> Iterator[str]:
    """Why the user may not do what the sink does: make tables by these statements, or if none, fill them.

    The server checks privileges when it prepares a statement; so nothing is run. (It checks none for ALTER TABLE and
    CREATE DATABASE.)
    """
    wanted = dict.fromkeys(creating, 0) or _RUN
    with Connection(settings) as connection:
        for name, width in wanted.items():
            row = f"({', '.join(['NULL'] * width)})"
            text = statements.sql(name, settings, rows=row, ids="NULL", partitions="NULL").replace("%s", "NULL")
            try:
                connection.run("prepare", (text,))
            except DatabaseRefused as refused:
                yield refused.message


def missing_indexes(settings: Settings) -> list[str]:
    """The statements that would make the indexes for readers that the orders table lacks."""
    where = (settings.mysql_database, settings.mysql_table)
    with Connection(settings, database=False) as connection:
        indexed = {column.lower() for (column,) in connection.run("select_indexed_columns", where).rows}
    return [
        f"CREATE INDEX {name} ON `{settings.mysql_table}` ({column});"
        for column, name in _INDEXED.items()
        if column not in indexed
    ]
