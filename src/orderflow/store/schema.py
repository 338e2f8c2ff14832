"""The tables: what is missing, what differs, and how a table of before is taken over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from orderflow import order
from orderflow.errors import DatabaseRefused, TableDrifted
from orderflow.settings import Settings
from orderflow.store import statements
from orderflow.store.connection import Connection, RowsRefusedError

_CREATE = {
    "orders": "create_orders",
    "ledger": "create_ledger",
    "quarantine": "create_quarantine",
    "parts": "create_parts",
    "losses": "create_losses",
    "audits": "create_audits",
    "by_minute": "create_by_minute",
    "per_minute": "create_per_minute",
    "per_day": "create_per_day",
    "per_reason": "create_per_reason",
}
_PROVENANCE = {
    "kafka_partition": "INT NULL",
    "kafka_offset": "BIGINT NULL",
    "produced_at": "DATETIME(3) NULL",
    "stored_at": "DATETIME(6) NULL",
}
# While the first has run and the last has not, the column's default is -1: the taking over is not finished.
_ADOPT = ("adopt_orders", "adopt_by_minute", "adopt_orders_default")
# Columns of the quarantine that the first version did not have.
_LATER = ["resolved_because", "mended_value", "parts"]


class Step(NamedTuple):
    """Something missing: what it is, and the statement (by name) that makes it."""

    what: str
    statement: str


def everything(settings: Settings) -> list[Step]:
    """What `prepare` would make on a server that has nothing of it, in order."""
    names = statements.table_names(settings)
    database = Step(f"database {settings.mysql_database}", "create_database")
    return [database, *(Step(f"table {names[key]}", statement) for key, statement in _CREATE.items())]


def missing(settings: Settings) -> list[Step]:
    """What `prepare` would make, in order.

    Raises TableDrifted where a table differs from what OrderFlow writes, and the connection's errors.
    """
    with Connection(settings, database=False) as connection:
        return _missing(connection, settings)


def prepare(settings: Settings) -> list[Step]:
    """Make what is missing and give it back.

    Raises TableDrifted, and DatabaseRefused where the user may not create something.
    """
    steps = missing(settings)
    for step in steps:
        with Connection(settings, database=step.statement != "create_database") as connection:
            try:
                connection.run(step.statement)
            except DatabaseRefused as refused:
                raise DatabaseRefused(
                    f"{step.what} is missing, and could not be made: {refused.message}",
                    hint="Grant the user what is missing, or have another run what `orderflow init --dry-run` prints.",
                ) from refused
            except RowsRefusedError as refused:
                raise TableDrifted(
                    f"{step.what} cannot be made: {refused}.",
                    hint=f"Rows of table {settings.mysql_table} have NULL in a column: mend or delete them.",
                ) from refused
            connection.commit()
    return steps


def statement_of(step: Step, settings: Settings) -> str:
    """The step's SQL, for a person to read or run; what follows a new database is meant for that one."""
    then = ["use_database"] if step.statement == "create_database" else []
    return "\n".join(statements.sql(name, settings) + ";" for name in (step.statement, *then))


def _missing(connection: Connection, settings: Settings) -> list[Step]:
    names = statements.table_names(settings)
    if not connection.run("select_schema", (settings.mysql_database,)).rows:
        return everything(settings)
    where = (settings.mysql_database, *names.values())
    tables = statements.marks(names)
    engines: dict[str, str | None] = dict(connection.run("select_tables", where, tables=tables).rows)
    columns: dict[str, dict[str, str]] = {}
    adopting = False
    for table, column, *shape, default, generated_by in connection.run("select_columns", where, tables=tables).rows:
        shown = f"generated as {generated_by}" if generated_by else _type(*shape)
        columns.setdefault(table, {})[column.lower()] = shown
        adopting |= (table, column, default) == (names["orders"], "kafka_partition", "-1")
    steps = [Step(f"table {names[key]}", made_by) for key, made_by in _CREATE.items() if names[key] not in engines]
    if names["orders"] in engines:
        found = columns[names["orders"]]
        adopt = not found.keys() & _PROVENANCE.keys()
        if engines[names["orders"]] is None:
            raise TableDrifted(
                f"{settings.mysql_database}.{names['orders']} is a view.", hint="Name another table in MYSQL_TABLE."
            )
        differences = list(_differences(connection, settings, found, adopt, engines[names["orders"]]))
        if differences:
            raise TableDrifted(
                f"Table {settings.mysql_database}.{names['orders']} is not the table of the orders: "
                + "; ".join(what for what, _ in differences)
                + ".",
                # One statement, for some of it cannot be done before the rest.
                hint=f"Mend it with: ALTER TABLE `{names['orders']}` {', '.join(mend for _, mend in differences)};"
                " Or name another table in MYSQL_TABLE.",
            )
        if adopt or adopting:
            what = f"provenance of the rows in table {names['orders']}"
            steps += [Step(what, statement) for statement in _ADOPT[adopting:]]
    for key in ("ledger", "quarantine", "parts", "losses", "audits", "by_minute"):
        expected = re.findall(r"^  `?([a-z_]+)`? [A-Z]+", statements.sql(_CREATE[key], settings), re.MULTILINE)
        if names[key] not in engines:
            continue
        lacking = [name for name in expected if name not in columns[names[key]]]
        if key == "quarantine" and lacking == _LATER:
            steps.append(Step(f"columns {', '.join(lacking)} of table {names[key]}", "extend_quarantine"))
        elif lacking:
            raise TableDrifted(
                f"Table {settings.mysql_database}.{names[key]} lacks the columns {', '.join(lacking)}.",
                hint="It is not a table of this version of OrderFlow: move it away, or set another MYSQL_TABLE.",
            )
    return steps


def _differences(
    connection: Connection, settings: Settings, found: dict[str, str], adopt: bool, engine: str | None
) -> Iterator[tuple[str, str]]:
    """What differs, and the part of an ALTER TABLE that would mend it."""
    if engine is None or engine.upper() != "INNODB":
        yield f"its engine is {engine}", "ENGINE = InnoDB"
    expected = {name: _declared(sql) for name, sql in order.columns().items()}
    for name, sql in order.columns().items():
        if name not in found:
            yield f"column {name} is missing", f"ADD COLUMN {name} {sql}"
        elif not _fits(name, found[name], expected[name]):
            yield f"column {name} is {found[name]}, not {expected[name]}", f"MODIFY COLUMN {name} {sql}"
    for name in found.keys() - expected.keys() - _PROVENANCE.keys():
        yield f"column {name} is unknown", f"DROP COLUMN {_quoted(name)}"
    for name, sql in {} if adopt else _PROVENANCE.items():
        if name not in found:
            yield f"column {name} is missing", f"ADD COLUMN {name} {sql} INVISIBLE"
        elif found[name] != _declared(sql):
            yield f"column {name} is {found[name]}, not {_declared(sql)}", f"MODIFY COLUMN {name} {sql} INVISIBLE"
    keys = dict(connection.run("select_unique_keys", (settings.mysql_database, settings.mysql_table)).rows)
    if (primary := keys.pop("PRIMARY", None)) is None:
        yield "it has no primary key", "ADD PRIMARY KEY (order_id)"
    elif primary != "order_id":
        yield f"its primary key is {primary}, not order_id", "DROP PRIMARY KEY, ADD PRIMARY KEY (order_id)"
    for name, on in keys.items():
        yield f"key {name} makes {on} unique too", f"DROP INDEX {_quoted(name)}"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _type(data_type: str, column_type: str, charset: str | None, length: int | None, precision: int | None) -> str:
    """A column's type in one spelling for both servers: int, varchar(50) ascii, decimal(10,2), datetime."""
    if data_type == "varchar":
        return f"varchar({length}) {charset}"
    if data_type in ("decimal",):
        return column_type
    if data_type == "datetime" and precision:
        return f"datetime({precision})"
    return data_type if "unsigned" not in column_type else f"{data_type} unsigned"


def _declared(sql: str) -> str:
    charset = re.search(r"CHARACTER SET (\w+)", sql)
    return sql.split(maxsplit=1)[0].lower() + (f" {charset[1]}" if charset else "")


def _fits(name: str, found: str, expected: str) -> bool:
    # Ids are ASCII: every character set holds them. The other texts may hold any character.
    return found.split(maxsplit=1)[0] == expected.split(maxsplit=1)[0] if name == "order_id" else found == expected
