"""The orders table, which may be older than OrderFlow: adopts it, and adds what a new contract needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from orderflow.contract import loader, patterns
from orderflow.contract.definition import STANDARD_FIELDS, Field, Kind
from orderflow.errors import RestartRequired, TableDrifted
from orderflow.settings import Settings
from orderflow.store import contracts, statements
from orderflow.store.connection import Connection
from orderflow.store.information_schema import ExistingTables, read_tables
from orderflow.store.schema_steps import SchemaStep
from orderflow.store.table_definition import (
    ColumnDefinition,
    ExistingColumn,
    ExistingTable,
    TableDefinition,
    differences,
    has_type,
    parse_column,
    parse_table,
)

_NEXT_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")  # of a user's own table: each write changes it
# While the adoption is incomplete (first step done, last not), the default of kafka_partition is -1.
ADOPTION = ("adopt_orders", "adopt_by_minute", "adopt_orders_default")
_VARCHAR = re.compile(r"varchar\((\d+)\)")
_ONE_BYTE = 255  # bytes: longer texts have two bytes for their length


class CheckedTable:
    """The orders table as it was checked last. Some changes would alter the orders without an error or a warning."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        """Check the table, and end the connection's transaction. Raises what `check` raises."""
        self._settings = settings
        self._definition = ""
        self.check(connection)
        connection.rollback()

    def check(self, connection: Connection) -> None:
        """Check that the table can store the orders. After a write, nobody can alter it until the transaction ends.

        Unlike a start, this accepts additional and wider columns: a later contract may add them while a sink runs.

        Raises TableDrifted, and RestartRequired if `schema.prepare` can restore the table.
        """
        [(_, definition, *_)] = connection.execute("show_definition").rows
        definition = _NEXT_COUNTER.sub("", str(definition))
        if definition != self._definition:
            self._check_columns(read_tables(connection, self._settings))
            self._definition = definition

    def _check_columns(self, existing: ExistingTables) -> None:
        name = statements.table_names(self._settings)["orders"]
        if name in existing.tables and _can_store(self._settings, existing.tables[name], existing.contracts):
            return
        if name not in existing.tables or missing_parts(self._settings, name, existing):
            raise RestartRequired(
                f"Table {self._settings.mysql_database}.{name} is missing, or lacks a column of the contract.",
                hint="`orderflow init` adds it; a sink does so when it starts.",
            )


def _can_store(settings: Settings, table: ExistingTable, versions: contracts.Versions) -> bool:
    """Whether the table can store each order of this contract unchanged."""
    definition = _definition(settings, versions, has_provenance=True)
    return not any(differences(definition._replace(is_complete=False, may_be_wider=True), table))


def missing_parts(settings: Settings, name: str, existing: ExistingTables) -> list[SchemaStep]:
    """Return the steps that create what the existing orders table lacks.

    Raises TableDrifted.
    """
    table = existing.tables[name]
    if table.engine is None:
        raise TableDrifted(f"{settings.mysql_database}.{name} is a view.", hint="Name another table in MYSQL_TABLE.")
    has_provenance = not table.columns.keys().isdisjoint(_provenance())
    steps, table_then = _column_changes(settings, name, table, existing.contracts)
    definition = _definition(settings, existing.contracts, has_provenance=has_provenance)
    if drift := [*differences(definition, table_then)]:
        raise TableDrifted(
            f"Table {settings.mysql_database}.{name} cannot store the orders of this contract: "
            + "; ".join(difference.description for difference in drift)
            + ".",
            # One ALTER TABLE, because some changes are only valid together.
            hint=f"Fix it with: ALTER TABLE `{name}` {', '.join(difference.fix for difference in drift)};"
            " Or name another table in MYSQL_TABLE. `orderflow audit` shows whether the change altered stored orders.",
        )
    is_interrupted = has_provenance and table.columns["kafka_partition"].default == "-1"
    if has_provenance and not is_interrupted:
        return steps
    return steps + [SchemaStep(f"provenance of the rows in table {name}", step) for step in ADOPTION[is_interrupted:]]


@cache
def _provenance() -> dict[str, ColumnDefinition]:
    """Return the columns for the coordinates and times of each order's record."""
    columns = parse_table(statements.sql("create_orders", Settings())).columns
    return {name: _of_any_table(column) for name, column in columns.items() if name not in STANDARD_FIELDS}


def _of_any_table(column: ColumnDefinition) -> ColumnDefinition:
    """Return the definition without what users may choose in their own tables."""
    return column._replace(collation=None, nullable=None, auto_increment=None)


def _definition(settings: Settings, versions: contracts.Versions, *, has_provenance: bool) -> TableDefinition:
    """Return what the orders table must be. A sink may use a contract that is older than the latest version."""
    contract = loader.contract_of(settings)
    contract_id = versions.find(contract)
    later_columns = {
        field.name: _column(field)
        for later_id, later in versions.contracts.items()
        if contract_id is not None and later_id > contract_id
        for field in later.columns
    }
    columns = {field.name: _column(field) for field in contract.columns}
    if has_provenance:
        columns |= _provenance()
    return TableDefinition(columns, "order_id", later_columns=later_columns, is_complete=True)


def _column(field: Field) -> ColumnDefinition:
    """Return what the field's column must be."""
    column = _of_any_table(parse_column(field.sql_type))._replace(sql=field.sql_definition)
    if field.name != "order_id":
        return column
    caseless = field.kind is Kind.INTEGER or (field.pattern and patterns.is_caseless(field.pattern))
    # Ids are ASCII, which every character set can hold. The other texts may have any character.
    return column._replace(charset=None, is_case_sensitive=not caseless)


def _column_changes(
    settings: Settings, name: str, table: ExistingTable, versions: contracts.Versions
) -> tuple[list[SchemaStep], ExistingTable]:
    """Return the step that adds missing columns, and the table as it is then.

    The step also lengthens VARCHAR columns that the latest contract declares shorter.
    """
    latest = versions.contracts[versions.newest_id].by_name
    columns = dict(table.columns)
    changed: list[str] = []
    changes: list[str] = []
    previous = STANDARD_FIELDS[-1]
    for field in loader.contract_of(settings).columns:
        column = parse_column(field.sql_type)
        if field.is_custom and field.name not in columns:
            changed.append(field.name)
            changes.append(f"ADD COLUMN {statements.identifier(field)} {field.sql_definition} AFTER `{previous}`")
            columns[field.name] = ExistingColumn(column.type, column.charset)
        elif _can_lengthen_in_place(latest, field, column, columns):
            changed.append(f"{field.name} ({field.sql_type.split()[0]})")
            changes.append(f"MODIFY COLUMN {statements.identifier(field)} {field.sql_definition}")
            columns[field.name] = columns[field.name]._replace(type=column.type)
        previous = field.name if field.is_custom else previous
    if not changes:
        return [], table
    noun = "columns" if len(changes) > 1 else "column"
    placeholders = (("changes", ",\n  ".join(changes)),)
    step = SchemaStep(f"{noun} {', '.join(changed)} of table {name}", "change_orders", placeholders)
    return [step], table._replace(columns=columns)


def _can_lengthen_in_place(
    latest: Mapping[str, Field], field: Field, column: ColumnDefinition, columns: Mapping[str, ExistingColumn]
) -> bool:
    """Whether the server can lengthen the field's column in place. It must be as the latest contract declares it.

    The server copies the table if the change takes the column from at most 255 bytes to more.
    """
    if field.name not in latest or field.name not in columns:
        return False
    declared = parse_column(latest[field.name].sql_type)
    before, after = _VARCHAR.fullmatch(declared.type), _VARCHAR.fullmatch(column.type)
    if not (before and after and declared.charset == column.charset and has_type(columns[field.name], declared)):
        return False
    shorter, longer = (int(match[1]) * (1 if column.charset == "ascii" else 4) for match in (before, after))
    return shorter < longer and (shorter > _ONE_BYTE) == (longer > _ONE_BYTE)
