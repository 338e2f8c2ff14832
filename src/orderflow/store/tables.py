"""The registry of all tables and views: names, statements, privileges, and the shape that each must have.

Columns, types and keys of a table are read from its CREATE TABLE statement, so that they are defined only once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

_COLUMN = re.compile(r"^  `?([a-z_]+)`? ([A-Z].*?),?$", re.MULTILINE)
_COMMENT = re.compile(r" COMMENT '[^']*'")
_TYPE = re.compile(r"(\w+)(\([^)]*\))?")
_PRIMARY = re.compile(r"^  PRIMARY KEY \((.*)\)", re.MULTILINE)
_UNIQUE = re.compile(r"^  UNIQUE INDEX (\w+) \((.*)\)", re.MULTILINE)
_TEXTS = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}
_WITH_LENGTH = {"char", "varchar"}


class Table(NamedTuple):
    """A table or view. `key` is its name in the statements; its name in the database is MYSQL_TABLE plus `suffix`.

    `columns` are those of a view. Those of a table are in its statement.
    """

    key: str
    suffix: str
    sink_privileges: str
    columns: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["table", "view"]:
        """Whether it is a table or a view."""
        return "view" if self.columns else "table"

    @property
    def create(self) -> str:
        """The name of the statement that creates it."""
        return f"create_{self.key}"


_SALES = ("product_category", "orders", "units", "revenue")
# In the order of creation: views after their tables.
TABLES = (
    Table("orders", "", "SELECT, INSERT"),
    Table("ledger", "_ledger", "SELECT, INSERT, UPDATE"),
    Table("quarantine", "_quarantine", "SELECT, INSERT, UPDATE"),
    Table("chunks", "_quarantine_chunks", "SELECT, INSERT"),
    Table("losses", "_losses", "SELECT, INSERT"),
    Table("audits", "_audits", "SELECT, INSERT"),
    Table("by_minute", "_by_minute", "SELECT, INSERT, UPDATE"),
    Table("per_minute", "_per_minute", "SELECT", ("minute", *_SALES)),
    Table("per_day", "_per_day", "SELECT", ("day", *_SALES)),
    Table(
        "per_reason",
        "_per_reason",
        "SELECT",
        ("reason", "status", "records", "first_quarantined_at", "last_quarantined_at"),
    ),
    Table("contracts", "_contracts", "SELECT"),
    Table("contract_starts", "_contract_starts", "SELECT, INSERT, UPDATE"),
    Table("schema", "_schema", "SELECT"),
    Table("adoption", "_adoption", "SELECT"),  # last, because it counts what the other steps adopt
)
# Names that tables had in earlier versions, for the statements of migrations.
FORMER_TABLES = {"record_parts": "_record_parts"}


class Column(NamedTuple):
    """A column as declared, or as the server shows it; `type` has the same spelling in both cases."""

    type: str
    collation: str | None
    nullable: bool
    auto_increment: bool
    declared: str = ""
    fails_without_value: bool = False


class Shape(NamedTuple):
    """The required structure of a table. `unique` has its other unique keys: name to columns, as "a,b"."""

    columns: dict[str, Column]
    primary: str
    unique: dict[str, str]


def shape(statement: str) -> Shape:
    """Return the shape of the table that this CREATE TABLE statement creates."""
    declared = {name: _COMMENT.sub("", sql) for name, sql in _COLUMN.findall(statement)}
    inline = [name for name, sql in declared.items() if "PRIMARY KEY" in sql]
    primary = _PRIMARY.findall(statement)
    return Shape(
        {name: _declared_column(sql.replace(" PRIMARY KEY", "")) for name, sql in declared.items()},
        _joined((primary[0] if primary else inline[0]).split(",")),
        {name: _joined(columns.split(",")) for name, columns in _UNIQUE.findall(statement)},
    )


def found_column(shown: Sequence[Any]) -> Column:
    """Return a column from its row of select_columns: data_type to column_default."""
    data_type, column_type, charset, length, precision, collation, nullable, extra, default = shown
    may_be_null, counts = nullable.upper() == "YES", "auto_increment" in extra.lower()
    has_value = may_be_null or default is not None or counts or "generated" in extra.lower()
    found = found_type(data_type, column_type, charset, length, precision)
    return Column(found, collation, may_be_null, counts, fails_without_value=not has_value)


def found_type(data_type: str, column_type: str, charset: str | None, length: int | None, precision: int | None) -> str:
    """Return a column's type, spelled the same for both servers: int, varchar(50) ascii, decimal(10,2), datetime."""
    if data_type in _TEXTS:
        return f"{data_type}({length}) {charset}" if data_type in _WITH_LENGTH else f"{data_type} {charset}"
    if data_type in ("decimal", "enum", "set"):
        return column_type.replace(", ", ",")
    if data_type == "datetime" and precision:
        return f"datetime({precision})"
    return data_type if "unsigned" not in column_type else f"{data_type} unsigned"


def differences(wanted: Shape, columns: Mapping[str, Column], keys: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each difference except missing columns, and the part of an ALTER TABLE statement that fixes it."""
    for name, column in wanted.columns.items():
        if name in columns and (what := _column_difference(name, columns[name], column)):
            yield what, f"MODIFY COLUMN `{name}` {column.declared}"
    for name, found in columns.items():
        if name not in wanted.columns and found.fails_without_value:
            yield f"column {name} is unknown and must be given", f"DROP COLUMN {quoted(name)}"
    yield from _key_differences(wanted, keys)


def _column_difference(name: str, found: Column, wanted: Column) -> str:
    """Describe the difference; empty if there is none."""
    if found.type != wanted.type:
        return f"column {name} is {found.type}, not {wanted.type}"
    if wanted.collation and found.collation != wanted.collation:
        return f"column {name} is compared by {found.collation}, not {wanted.collation}"
    if found.nullable != wanted.nullable:
        return f"column {name} {'may' if found.nullable else 'must not'} be NULL"
    if found.auto_increment != wanted.auto_increment:
        return f"column {name} is {'' if found.auto_increment else 'not '}AUTO_INCREMENT"
    return ""


def _key_differences(wanted: Shape, keys: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    primary = keys.get("PRIMARY")
    if primary != wanted.primary:
        drop = "DROP PRIMARY KEY, " if primary else ""
        what = f"its primary key is {primary or 'missing'}, not {wanted.primary}"
        yield what, f"{drop}ADD PRIMARY KEY ({wanted.primary})"
    others = {name: on for name, on in keys.items() if name != "PRIMARY"}
    for name, on in wanted.unique.items():
        if on not in others.values():
            drop = f"DROP INDEX {quoted(name)}, " if name in others else ""
            yield f"no key makes {on} unique", f"{drop}ADD UNIQUE INDEX {quoted(name)} ({on})"
    for name, on in others.items():
        if on not in wanted.unique.values() and name not in wanted.unique:
            yield f"key {name} makes {on} unique too", f"DROP INDEX {quoted(name)}"


def quoted(name: str) -> str:
    """Return the name as a quoted SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def _declared_column(sql: str) -> Column:
    """Return the column that this declaration of a CREATE TABLE statement creates."""
    found = _TYPE.match(sql)
    assert found
    name, parameters = found[1].lower(), (found[2] or "").replace(", ", ",")
    charset = re.search(r"CHARACTER SET (\w+)", sql)
    collation = re.search(r"COLLATE (\w+)", sql)
    if name in _TEXTS:
        parameters += f" {charset[1] if charset else 'utf8mb4'}"
    if name == "boolean":
        name = "tinyint"
    return Column(
        name + parameters, collation and collation[1], "NOT NULL" not in sql, "AUTO_INCREMENT" in sql, declared=sql
    )


def _joined(columns: Iterable[str]) -> str:
    return ",".join(column.strip().strip("`") for column in columns)
