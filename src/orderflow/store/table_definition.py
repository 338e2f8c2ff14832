"""The definition of a table, and how an existing table differs from it.

A definition is read from the CREATE TABLE statement, so that columns, types and keys are defined only once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

_COLUMN = re.compile(r"^  `?([a-z_]+)`? ([A-Z].*?),?$", re.MULTILINE)
_COMMENT = re.compile(r" COMMENT '[^']*'")
_TYPE = re.compile(r"(\w+)(\([^)]*\))?")
_PRIMARY = re.compile(r"^  PRIMARY KEY \((.*)\)", re.MULTILINE)
_UNIQUE = re.compile(r"^  UNIQUE INDEX (\w+) \((.*)\)", re.MULTILINE)
_EXACT_COLLATION = re.compile(r".+_(bin|cs|cs_ks)|binary")  # distinguishes capital letters

_INTEGERS = ("tinyint", "smallint", "mediumint", "int", "bigint")
TEXT_TYPES = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}


class ColumnDefinition(NamedTuple):
    """What a column must be; None accepts any. `sql` declares it in a statement, and `type` is as in ExistingColumn."""

    sql: str
    type: str
    charset: str | None = None
    collation: str | None = None
    nullable: bool | None = None
    auto_increment: bool | None = None
    is_case_sensitive: bool = False


class TableDefinition(NamedTuple):
    """What a table must be. `unique_keys` has its keys except the primary one: name to columns, as "a,b".

    `later_columns` may exist too, or replace a column of the same name. With `is_complete`, no other column may exist;
    otherwise only columns that an INSERT statement must name are refused. With `may_be_wider`, the type of a column may
    have more values than the definition's.
    """

    columns: Mapping[str, ColumnDefinition]
    primary_key: str
    unique_keys: Mapping[str, str] = {}
    later_columns: Mapping[str, ColumnDefinition] = {}
    is_complete: bool = False
    may_be_wider: bool = False


class ExistingColumn(NamedTuple):
    """A column as the server shows it. `type` has the same spelling for both servers: int, varchar(50), datetime(6)."""

    type: str
    charset: str | None = None
    collation: str | None = None
    nullable: bool = True
    auto_increment: bool = False
    default: str | None = None
    must_be_given: bool = False  # an INSERT statement without it fails


class ExistingTable(NamedTuple):
    """A table or view as the server shows it. `unique_keys` has all its keys, the primary one as PRIMARY."""

    engine: str | None  # None for a view
    columns: dict[str, ExistingColumn]
    unique_keys: dict[str, str]


class Difference(NamedTuple):
    """A difference, and the part of an ALTER TABLE statement that fixes it."""

    description: str
    fix: str


def parse_table(statement: str) -> TableDefinition:
    """Return the definition of the table that this CREATE TABLE statement creates."""
    declared = {name: _COMMENT.sub("", sql) for name, sql in _COLUMN.findall(statement)}
    inline = [name for name, sql in declared.items() if "PRIMARY KEY" in sql]
    primary = _PRIMARY.findall(statement)
    return TableDefinition(
        {name: parse_column(sql.replace(" PRIMARY KEY", "")) for name, sql in declared.items()},
        _joined((primary[0] if primary else inline[0]).split(",")),
        {name: _joined(columns.split(",")) for name, columns in _UNIQUE.findall(statement)},
    )


def parse_column(sql: str) -> ColumnDefinition:
    """Return the definition of the column that this part of a CREATE TABLE statement declares."""
    type_match = _TYPE.match(sql)
    assert type_match
    name, parameters = type_match[1].lower(), (type_match[2] or "").replace(", ", ",")
    charset = re.search(r"CHARACTER SET (\w+)", sql)
    collation = re.search(r"COLLATE (\w+)", sql)
    return ColumnDefinition(
        sql,
        ("tinyint" if name == "boolean" else name) + parameters,
        (charset[1] if charset else "utf8mb4") if name in TEXT_TYPES else None,
        collation and collation[1],
        "NOT NULL" not in sql,
        "AUTO_INCREMENT" in sql,
    )


def differences(definition: TableDefinition, existing: ExistingTable) -> Iterator[Difference]:
    """Yield the differences of the table from its definition: engine, columns, keys."""
    if str(existing.engine).upper() != "INNODB":
        yield Difference(f"its engine is {existing.engine}, not InnoDB", "ENGINE = InnoDB")
    for name, column in definition.columns.items():
        if name not in existing.columns:
            yield Difference(f"column {name} is missing", f"ADD COLUMN {quoted(name)} {column.sql}")
            continue
        later = definition.later_columns.get(name)
        accepted = later if later and has_type(existing.columns[name], later) else column
        if definition.may_be_wider and _is_wider(existing.columns[name].type, column.type):
            accepted = accepted._replace(type=existing.columns[name].type)
        if description := _column_difference(name, existing.columns[name], accepted):
            yield Difference(description, f"MODIFY COLUMN {quoted(name)} {column.sql}")
    for name, existing_column in existing.columns.items():
        if name in definition.columns or name in definition.later_columns:
            continue
        if definition.is_complete or existing_column.must_be_given:
            reason = "" if definition.is_complete else " and has no default"
            yield Difference(f"column {name} is unknown{reason}", f"DROP COLUMN {quoted(name)}")
    yield from _key_differences(definition, existing.unique_keys)


def _is_wider(existing: str, needed: str) -> bool:
    """Whether a column of the type `existing` holds every value of the type `needed` unchanged."""
    (name, sizes), (needed_name, needed_sizes) = _name_and_sizes(existing), _name_and_sizes(needed)
    if name in _INTEGERS and needed_name in _INTEGERS:
        return _INTEGERS.index(name) >= _INTEGERS.index(needed_name)
    if name in ("mediumtext", "longtext"):
        return needed_name in ("varchar", "text", "mediumtext")
    if name != needed_name or name not in ("varchar", "decimal", "datetime"):
        return False
    (size, scale), (needed_size, needed_scale) = sizes, needed_sizes
    return scale >= needed_scale and size - scale >= needed_size - needed_scale


def _name_and_sizes(column_type: str) -> tuple[str, list[int]]:
    """Return "decimal" and [10, 2] for decimal(10,2). Sizes that are not given are 0; "" is the name of other types."""
    match = _TYPE.fullmatch(column_type)
    sizes = map(int, re.findall(r"\d+", column_type))
    return match[1] if match else "", [*sizes, 0, 0][:2]


def has_type(existing: ExistingColumn, definition: ColumnDefinition) -> bool:
    """Whether the column's type and character set are those of the definition."""
    return existing.type == definition.type and definition.charset in (None, existing.charset)


def _column_difference(name: str, existing: ExistingColumn, definition: ColumnDefinition) -> str:
    """Describe the difference; empty if there is none."""
    if not has_type(existing, definition):
        return f"column {name} is {_spelled(existing)}, not {_spelled(definition)}"
    if definition.collation and existing.collation != definition.collation:
        return f"column {name} has the collation {existing.collation}, not {definition.collation}"
    if definition.is_case_sensitive and not _EXACT_COLLATION.fullmatch(existing.collation or ""):
        return f"column {name} has the collation {existing.collation}, which treats upper and lower case as equal"
    if definition.nullable not in (None, existing.nullable):
        return f"column {name} {'may' if existing.nullable else 'must not'} be NULL"
    if definition.auto_increment not in (None, existing.auto_increment):
        return f"column {name} is {'' if existing.auto_increment else 'not '}AUTO_INCREMENT"
    return ""


def _spelled(column: ExistingColumn | ColumnDefinition) -> str:
    return f"{column.type} {column.charset}" if column.charset else column.type


def _key_differences(definition: TableDefinition, keys: Mapping[str, str]) -> Iterator[Difference]:
    primary = keys.get("PRIMARY")
    if primary != definition.primary_key:
        drop = "DROP PRIMARY KEY, " if primary else ""
        description = f"its primary key is {primary or 'missing'}, not {definition.primary_key}"
        yield Difference(description, f"{drop}ADD PRIMARY KEY ({definition.primary_key})")
    others = {name: columns for name, columns in keys.items() if name != "PRIMARY"}
    for name, columns in definition.unique_keys.items():
        if columns not in others.values():
            drop = f"DROP INDEX {quoted(name)}, " if name in others else ""
            yield Difference(f"no unique key on {columns}", f"{drop}ADD UNIQUE INDEX {quoted(name)} ({columns})")
    for name, columns in others.items():
        if columns not in definition.unique_keys.values() and name not in definition.unique_keys:
            yield Difference(f"unexpected unique key {name} on {columns}", f"DROP INDEX {quoted(name)}")


def quoted(name: str) -> str:
    """Return the name as a quoted SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def _joined(columns: Iterable[str]) -> str:
    return ",".join(column.strip().strip("`") for column in columns)
