"""Reads a contract file: TOML that changes and extends the default contract. docs/contract.md describes the format."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from orderflow.contract.definition import (
    BIGINT_MAX,
    DEFAULT,
    INT_MAX,
    MAX_VARCHAR,
    OTHER_FIELDS,
    STANDARD_FIELDS,
    Contract,
    Field,
    Kind,
)
from orderflow.contract.field_table import KIND_KEYS, read_field, with_precision
from orderflow.contract.toml_table import TomlFile, TomlTable

RESERVED = (  # columns that no custom field can have
    *STANDARD_FIELDS,
    *("kafka_partition", "kafka_offset", "produced_at", "stored_at", OTHER_FIELDS),
    *("batch_index", "last_digit", "minute", "reason", "detail", "value"),  # of batches, and of orderflow.spark
    *("db_row_id", "db_trx_id", "db_roll_ptr", "fts_doc_id"),  # of InnoDB
)
MAX_CUSTOM_FIELDS = 200
_COLUMN_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_MAX_ROW_BYTES = 65_535  # MySQL's limit for a row, without texts of type MEDIUMTEXT
_OTHER_COLUMNS_BYTES = 100  # numbers, times and lengths of the other columns, at most
_TOTALS = ("checked", "computed", "as_sent")
_DEFAULT_LENGTHS = {Kind.STRING: 255, Kind.JSON: 65_536}

CUSTOM_KEYS = {"key", "required", "default", "examples", "comment", "type"}
# The keys of the standard fields, and the types that they may have; the first one is the default.
STANDARD_KEYS: dict[str, tuple[set[str], tuple[Kind, ...]]] = {
    "customer_id": ({"key", "type", "required", "default", "examples"}, (Kind.INTEGER, Kind.STRING)),
    "order_id": ({"key", "type", "examples"}, (Kind.STRING, Kind.INTEGER)),
    "product_name": ({"key", "required", "default", "fixed", "examples"}, (Kind.STRING,)),
    "product_category": ({"key", "required", "default", "fixed", "examples"}, (Kind.STRING,)),
    "unit_price": ({"key", "fixed"}, (Kind.DECIMAL,)),
    "quantity": ({"key", "fixed"}, (Kind.INTEGER,)),
    "total_price": ({"key", "total"}, (Kind.DECIMAL,)),
    "order_timestamp": ({"key"}, (Kind.TIMESTAMP,)),
}


@lru_cache(maxsize=16)
def read(text: str, name: str) -> Contract:
    """Return the contract that this text of a file describes; `name` is the file's name in messages.

    Raises ContractInvalid, with the line and the fix.
    """
    file = TomlFile(text, name).parse()
    file.check_keys({"unknown_fields", "fields", *STANDARD_FIELDS})
    unknown_fields = file.one_of("unknown_fields", ("ignore", "keep", "reject"))
    total = _standard_table(file, "total_price").one_of("total", _TOTALS)
    fields = [_standard_field(default, _standard_table(file, default.name)) for default in DEFAULT.fields]
    fields += [_custom_field(column, table) for column, table in _custom_tables(file).items()]
    contract = Contract(fields=tuple(fields), unknown_fields=unknown_fields, total=total)  # type: ignore[arg-type] # checked
    _check_objects(contract, file)
    _check_row_size(contract, file)
    return contract


def _standard_table(file: TomlTable, name: str) -> TomlTable:
    """Return the table of a standard field; empty if the file has none."""
    entries = file.entries.get(name, {})
    if not isinstance(entries, dict):
        raise file.error(f"{name} is not a table", f"Write [{name}].", name)
    return file.inner(name, entries)


def _custom_tables(file: TomlTable) -> dict[str, TomlTable]:
    """Return the tables of the custom fields by column."""
    tables = file.entries.get("fields", {})
    if not isinstance(tables, dict):
        raise file.error("fields is not a table", "Write [fields.NAME] for each custom field.", "fields")
    if len(tables) > MAX_CUSTOM_FIELDS:
        problem = f"there are more than {MAX_CUSTOM_FIELDS} custom fields"
        raise file.inner("fields", tables).error(problem, "Keep some in one field of type json.")
    return {column: file.inner(f"fields.{column}", entries) for column, entries in tables.items()}


def _standard_field(default: Field, table: TomlTable) -> Field:
    keys, kinds = STANDARD_KEYS[default.name]
    kind = Kind(table.one_of("type", [str(kind) for kind in kinds]))
    table.check_keys(keys | (KIND_KEYS[kind] - {"precision", "scale"}))
    base = default
    if kind is not default.kind:
        base = Field(name=default.name, kind=kind, path=default.path, min_length=1, max_length=50, maximum=BIGINT_MAX)
    if table.entries.keys() & {"pattern", "max_length"}:
        base = msgspec.structs.replace(base, meaning="")
    if default.name == "total_price" and table.one_of("total", _TOTALS) == "computed":
        base = msgspec.structs.replace(base, required=False)
    return read_field(base, table)


def _custom_field(column: str, table: TomlTable) -> Field:
    if not isinstance(table.entries, dict):
        raise table.error(f"{table.name} is not a table", f"Write [{table.name}] and its keys below it.")
    if not _COLUMN_NAME.fullmatch(column):
        fix = "Use lower-case letters, digits and _; `key` names the field in the message."
        raise table.error(f"{column!a} cannot be a column", fix)
    if column in STANDARD_FIELDS:
        raise table.error(f"{column} is a column of OrderFlow", f"Write [{column}].")
    if column in RESERVED:
        fix = "Choose another name; `key` names the field in the message."
        raise table.error(f"{column} is a column of OrderFlow", fix)
    if "type" not in table.entries:
        raise table.error(f"{column} has no type", f"Add type = one of {', '.join(Kind)}.")
    kind = Kind(table.one_of("type", [str(kind) for kind in Kind]))
    table.check_keys(CUSTOM_KEYS | KIND_KEYS[kind])
    lowest = -INT_MAX - 1 if kind is Kind.INTEGER else "0"
    base = Field(name=column, kind=kind, path=(column,), minimum=lowest, max_length=_DEFAULT_LENGTHS.get(kind, 0))
    return read_field(with_precision(base, table) if kind is Kind.DECIMAL else base, table)


def _check_objects(contract: Contract, file: TomlTable) -> None:
    """Check that no key is both a field and an object that holds fields."""
    paths = [field.path for field in contract.fields if field.path]
    for field in contract.fields:
        for path in paths:
            if path == field.path[: len(path)] != field.path:
                table = file.inner(f"fields.{field.name}" if field.is_custom else field.name, {})
                problem = f"{'.'.join(path)} is read as a field, and as an object that contains fields"
                raise table.error(problem, "Read the object as JSON, or its keys, but not both.", "key")


def _check_row_size(contract: Contract, file: TomlTable) -> None:
    size = _OTHER_COLUMNS_BYTES + sum(_row_bytes(field) for field in contract.columns)
    if size > _MAX_ROW_BYTES:
        problem = f"a row would have up to {size:,} bytes, and MySQL allows {_MAX_ROW_BYTES:,}"
        fix = f"Lower max_length of some, or set it above {MAX_VARCHAR}: such texts are stored outside of the row."
        raise file.inner("fields", {}).error(problem, fix)


def _row_bytes(field: Field) -> int:
    """Return how many bytes the column may take in a row."""
    if "VARCHAR" in field.sql_type:
        return field.max_length * (1 if "ascii" in field.sql_type else 4) + 2
    return 16
