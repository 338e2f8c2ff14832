"""The database server's state for `orderflow doctor`. Nothing here changes anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from orderflow.errors import DatabaseRefused
from orderflow.settings import Settings
from orderflow.store import statements
from orderflow.store.connection import Connection
from orderflow.store.information_schema import as_server_names
from orderflow.store.table_definition import parse_table
from orderflow.store.tables import TABLES

MIN_VERSIONS = {"mysql": (8, 0, 23), "mariadb": (10, 11)}  # first with invisible columns; oldest maintained version
# Statements that need one privilege on a table and nothing else.
_PROBE_BY_PRIVILEGE = {"SELECT": "need_select", "INSERT": "need_insert", "UPDATE": "need_update"}
_INDEXED = {"customer_id": "idx_customer", "order_timestamp": "idx_timestamp"}


READ_ONLY = ("innodb_read_only", "offline_mode", "read_only", "super_read_only")  # while one is on, the sink waits
# The server variables that are queried. Those that a server does not have are missing from the result.
_VARIABLES = ("binlog_format", "log_bin", "max_allowed_packet", *READ_ONLY)


class Server(NamedTuple):
    """The server's version, settings and time, as it reports them. `now` is UTC, naive."""

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
        numbers = re.match(r"\d+(\.\d+)*", self.version)
        return tuple(map(int, numbers[0].split("."))) if numbers else ()


def read(settings: Settings) -> Server:
    """Return the server's version and settings.

    Raises DatabaseUnavailable or DatabaseRefused.
    """
    with Connection(settings, database=False) as connection:
        return Server(*connection.execute("select_server").rows[0])


def variables(settings: Settings) -> dict[str, str]:
    """Return the global variables that decide whether and how the sink can write, by name in lower case."""
    with Connection(settings, database=False) as connection:
        rows = connection.execute("show_variables", _VARIABLES, names=statements.placeholders_for(_VARIABLES)).rows
    return {str(name).lower(): str(value) for name, value in rows}


def triggers(settings: Settings) -> list[str]:
    """Return the triggers of the tables that the user may see."""
    with Connection(settings, database=False) as connection:
        names = statements.table_names(settings).values()
        server_names = as_server_names(connection, (settings.mysql_database, *names))
        rows = connection.execute(
            "select_triggers", server_names, tables=statements.placeholders_for(server_names[1:])
        ).rows
    return [f"{name} of {table}" for name, table in rows]


def encryption(settings: Settings) -> str:
    """Return the TLS version that connections use; empty if they are not encrypted."""
    with Connection(settings, database=False) as connection:
        return str(connection.execute("show_encryption").rows[0][1])


def refused_statements(settings: Settings, creating: Iterable[str] = ()) -> Iterator[str]:
    """Yield why the user may not execute these CREATE statements (by name) or, without any, do what the sink does.

    The server checks privileges when it prepares a statement, so nothing is executed. (It checks none for ALTER TABLE
    and CREATE DATABASE.)
    """
    texts = [statements.sql(name, settings) for name in creating] or _privilege_probes(settings)
    with Connection(settings) as connection:
        for text in texts:
            try:
                connection.execute("prepare", {"statement": text})
            except DatabaseRefused as refused:
                yield refused.message


def _privilege_probes(settings: Settings) -> list[str]:
    """Return a statement for each privilege that the registry of tables assigns to the sink."""
    names = statements.table_names(settings)
    texts: list[str] = []
    for table in TABLES:
        columns = table.columns or [*parse_table(statements.sql(table.create, settings)).columns]
        for privilege in table.sink_privileges.split(", "):
            name, column = f"`{names[table.key]}`", f"`{columns[0]}`"
            texts.append(statements.sql(_PROBE_BY_PRIVILEGE[privilege], settings, table=name, column=column))
    return texts


def missing_indexes(settings: Settings) -> list[str]:
    """Return the statements that create the readers' indexes that the orders table lacks."""
    with Connection(settings, database=False) as connection:
        database, table = as_server_names(connection, (settings.mysql_database, settings.mysql_table))
        rows = connection.execute("select_indexed_columns", {"database": database, "table": table}).rows
        indexed = {column.lower() for (column,) in rows}
    return [
        f"CREATE INDEX {name} ON `{settings.mysql_table}` ({column});"
        for column, name in _INDEXED.items()
        if column not in indexed
    ]
