"""Numbered changes of the tables. They bring a database that an earlier version created up to date.

A migration is one ALTER TABLE statement: a server executes it completely or not at all. Its columns and names are read
from the statement, as a table's definition is read from its CREATE TABLE statement. docs/decisions/0013 explains why.

To change a table: change its CREATE TABLE statement, add a file to sql/migrations/, and add the file's name here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from orderflow.errors import TableDrifted
from orderflow.settings import Settings
from orderflow.store import statements
from orderflow.store.table_definition import TableDefinition

MIGRATIONS = (
    "0001_extend_quarantine",
    "0002_extend_ledger",
    "0003_rename_quarantine_columns",
    "0004_rename_record_parts",
    "0005_add_ledger_contract",
    "0006_add_quarantine_contract",
    "0007_add_last_record",
    "0008_add_quarantine_reason_contract",
)
LATEST = len(MIGRATIONS)

_TABLE = re.compile(r"ALTER TABLE `([\w$]+)`")
_ADDED = re.compile(r"^  ADD COLUMN (\w+) ", re.MULTILINE)
_RENAMED = re.compile(r"^  (?:RENAME COLUMN (\w+) TO (\w+)|CHANGE COLUMN (\w+) (\w+) )", re.MULTILINE)
_NEW_NAME = re.compile(r"^  RENAME TO `([\w$]+)`", re.MULTILINE)


class Migration(NamedTuple):
    """A migration of these settings' tables. `renamed` maps the former names of columns to their new ones."""

    number: int
    statement: str
    table: str
    new_name: str
    added: tuple[str, ...]
    renamed: dict[str, str]

    @property
    def description(self) -> str:
        """A description of what it creates."""
        columns = ", ".join((*self.added, *self.renamed.values()))
        return f"migration {self.number} (columns {columns} of table {self.new_name})"

    def is_needed(self, columns: Collection[str]) -> bool:
        """Whether the table with these columns has not had the migration yet."""
        absent = {*self.added, *(new for old, new in self.renamed.items() if new != old)}
        return absent.isdisjoint(columns) and self.renamed.keys() <= {*columns}

    def columns_after(self, columns: Collection[str]) -> set[str]:
        """Return the table's columns after the migration."""
        return {*self.added, *(self.renamed.get(column, column) for column in columns)}

    def definition_before(self, definition: TableDefinition) -> TableDefinition:
        """Return the table's definition before the migration, given the one after it."""
        former = {new: old for old, new in self.renamed.items()}

        def renamed(key: str) -> str:
            return ",".join(former.get(column, column) for column in key.split(","))

        return definition._replace(
            columns={
                former.get(name, name): column for name, column in definition.columns.items() if name not in self.added
            },
            primary_key=renamed(definition.primary_key),
            unique_keys={name: renamed(key) for name, key in definition.unique_keys.items()},
        )


def pending_migrations(settings: Settings, version: int, columns: Mapping[str, Collection[str]]) -> list[Migration]:
    """Return the migrations that these tables (name to columns) of this schema version still need, in order.

    Raises TableDrifted if a table exists under both its former and its new name.
    """
    existing = {table: {*names} for table, names in columns.items()}
    needed: list[Migration] = []
    for migration in _migrations(settings, version):
        table, new_name = migration.table, migration.new_name
        if table not in existing or not migration.is_needed(existing[table]):
            continue
        if new_name != table and new_name in existing:
            raise TableDrifted(
                f"The upgrade renames table {settings.mysql_database}.{table} to {new_name}, but {new_name} exists.",
                hint=f"Was a backup restored? Keep the table that has the rows: DROP TABLE `{new_name}`; or"
                f" DROP TABLE `{table}`;",
            )
        existing[new_name] = migration.columns_after(existing.pop(table))
        needed.append(migration)
    return needed


def definition_before(
    name: str, definition: TableDefinition, needed: Sequence[Migration]
) -> tuple[str, TableDefinition]:
    """Return the table's name and definition before the migrations, given those after them."""
    for migration in reversed(needed):
        if migration.new_name == name:
            name, definition = migration.table, migration.definition_before(definition)
    return name, definition


def former_names(settings: Settings) -> set[str]:
    """Return the names of tables that an earlier version created and a migration renames."""
    return {migration.table for migration in _migrations(settings, 0)} - {*statements.table_names(settings).values()}


def _migrations(settings: Settings, version: int) -> Iterator[Migration]:
    """Yield the migrations after this version."""
    for number, name in enumerate(MIGRATIONS[version:], version + 1):
        text = statements.sql(name, settings)
        table = _TABLE.match(text)
        assert table
        new_name = _NEW_NAME.search(text)
        renamed = {
            renamed_from or changed_from: renamed_to or changed_to
            for renamed_from, renamed_to, changed_from, changed_to in _RENAMED.findall(text)
        }
        added = tuple(_ADDED.findall(text))
        yield Migration(number, name, table[1], new_name[1] if new_name else table[1], added, renamed)
