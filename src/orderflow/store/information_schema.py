"""Reads from information_schema what the database has under the tables' names.

Names are compared as the server compares them: case-insensitively if lower_case_table_names requires it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from orderflow.contract.definition import DEFAULT
from orderflow.errors import DatabaseUnavailable
from orderflow.settings import Settings
from orderflow.store import contracts, named_lock, statements
from orderflow.store.connection import Connection
from orderflow.store.migrations import former_names
from orderflow.store.table_definition import TEXT_TYPES, ExistingColumn, ExistingTable

_READS = 20
_WITH_LENGTH = {"char", "varchar"}


class ExistingTables(NamedTuple):
    """The tables and views by their names from the settings, and what two of them record."""

    tables: dict[str, ExistingTable]
    schema_version: int  # 0 if none is recorded
    contracts: contracts.Versions


def has_database(connection: Connection, settings: Settings) -> bool:
    """Whether the database of these settings exists."""
    [database] = as_server_names(connection, (settings.mysql_database,))
    return bool(connection.execute("select_database", {"database": database}).rows)


def read_tables(connection: Connection, settings: Settings) -> ExistingTables:
    """Read until two reads agree: during a read, another process may change the tables.

    Raises DatabaseUnavailable.
    """
    existing = _read_once(connection, settings)
    for _ in range(_READS):
        previous, existing = existing, _read_once(connection, settings)
        if existing == previous:
            return existing
    raise DatabaseUnavailable(
        f"The definitions of the tables of {settings.mysql_database}.{settings.mysql_table} changed during each of"
        f" {_READS} reads.",
        hint="SHOW PROCESSLIST shows what changes them.",
    )


def _read_once(connection: Connection, settings: Settings) -> ExistingTables:
    names = [*statements.table_names(settings).values(), *former_names(settings)]
    server_names = as_server_names(connection, (settings.mysql_database, *names))
    names_by_lower = {server_name.lower(): name for server_name, name in zip(server_names[1:], names, strict=True)}
    placeholders = statements.placeholders_for(server_names[1:])
    ignores_case = named_lock.ignores_case(connection)

    def rows(statement: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of OrderFlow's tables only: the server's own comparison may match more."""
        for table, *cells in connection.execute(statement, server_names, tables=placeholders).rows:
            name = names_by_lower.get(table.lower())
            if name is not None and (ignores_case or table == name):
                yield name, *cells

    existing = {name: ExistingTable(engine, {}, {}) for name, engine in rows("select_tables")}
    for name, column, *cells in rows("select_columns"):
        if name in existing:  # otherwise it was created since, and the next read differs
            existing[name].columns[column.lower()] = _existing_column(cells)
    for name, key, columns in rows("select_unique_keys"):
        if name in existing:
            existing[name].unique_keys[key] = columns

    def has_column(table: str, column: str) -> bool:
        name = statements.table_names(settings)[table]
        return name in existing and column in existing[name].columns

    version, versions = 0, contracts.Versions({0: DEFAULT})
    if has_column("schema", "version"):
        version = int(connection.execute("select_schema_version").rows[0][0])
    if has_column("contracts", "contract") and has_column("ledger", "contract_id"):
        versions = contracts.read_versions(connection)
    return ExistingTables(existing, version, versions)


def as_server_names(connection: Connection, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names as the server stores them in information_schema."""
    [(case,)] = connection.execute("select_name_case").rows
    return tuple(name.lower() if case == 1 else name for name in names)


def _existing_column(cells: Sequence[Any]) -> ExistingColumn:
    """Return a column from its row of select_columns: data_type to generation_expression."""
    data_type, column_type, charset, length, precision, collation, nullable, extra, default, generated_by = cells
    may_be_null, is_counted = nullable.upper() == "YES", "auto_increment" in extra.lower()
    has_value = may_be_null or default is not None or is_counted or "generated" in extra.lower()
    column = ExistingColumn(
        _type(data_type, column_type, length, precision),
        charset if data_type in TEXT_TYPES else None,
        collation,
        may_be_null,
        is_counted,
        default,
        must_be_given=not has_value,
    )
    return column._replace(type=f"generated as {generated_by}", charset=None) if generated_by else column


def _type(data_type: str, column_type: str, length: int | None, precision: int | None) -> str:
    """Return a column's type, spelled the same for both servers: int, varchar(50), decimal(10,2), datetime."""
    if data_type in TEXT_TYPES:
        return f"{data_type}({length})" if data_type in _WITH_LENGTH else data_type
    if data_type in ("decimal", "enum", "set"):
        return column_type.replace(", ", ",")
    if data_type == "datetime" and precision:
        return f"datetime({precision})"
    return data_type if "unsigned" not in column_type else f"{data_type} unsigned"
