"""SQL by name: one statement per file in a folder of sql/. Identifiers are filled in here, values never.

A file begins with a comment. Its first line describes the statement; other lines may give reasons. The comment is
removed when the file is read, so the server never receives it.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import dropwhile

import pyarrow as pa

from orderflow.contract import loader
from orderflow.contract.definition import STANDARD_FIELDS, Contract, Field, Kind
from orderflow.settings import Settings
from orderflow.store.tables import FORMER_TABLES, TABLES


def table_names(settings: Settings) -> dict[str, str]:
    """Map the name of each table in the statements to its name in the database."""
    return {table.key: settings.mysql_table + table.suffix for table in TABLES}


def sql(name: str, settings: Settings, **placeholders: str) -> str:
    """Return the statement of this name for these settings' tables.

    `placeholders` fills lists of %s whose length the caller decides: see `placeholders_for`.
    """
    return fill(_text(name), settings, **placeholders)


def fill(text: str, settings: Settings, **placeholders: str) -> str:
    """Return the text with {names} replaced by the names of these settings' tables, and by the placeholders."""
    return text.format(**_identifiers(settings), **placeholders)


def placeholders_for(values: Collection[object]) -> str:
    """Return a %s for each of the values."""
    return ", ".join(["%s"] * len(values))


@lru_cache(maxsize=8)  # each transaction calls it several times
def _identifiers(settings: Settings) -> dict[str, str]:
    contract = loader.contract_of(settings)
    former = {key: settings.mysql_table + suffix for key, suffix in FORMER_TABLES.items()}
    return {key: f"`{table}`" for key, table in (table_names(settings) | former).items()} | {
        "database": f"`{settings.mysql_database}`",
        "order_names": ", ".join(identifier(field) for field in contract.columns),
        "standard_names": ", ".join(STANDARD_FIELDS),
        "order_columns": ",\n  ".join(f"{identifier(field)} {field.sql_definition}" for field in contract.columns),
        "order_minute": _minute(contract.by_name["order_timestamp"]),
        "row_hash": _row_hash(contract),
    }


def identifier(field: Field) -> str:
    """Return the field's column in a statement."""
    return f"`{field.name}`" if field.is_custom else field.name


def _minute(timestamp: Field) -> str:
    """Return the expression for the minute of an order."""
    minute = "order_timestamp - INTERVAL SECOND(order_timestamp) SECOND"
    return (
        f"CAST({minute} - INTERVAL MICROSECOND(order_timestamp) MICROSECOND AS DATETIME)" if timestamp.scale else minute
    )


def _row_hash(contract: Contract) -> str:
    """Return the expression for the checksum of an adopted row.

    The checksum has 60 bits and is equal on MySQL and MariaDB. The sum of the checksums identifies a set of rows.

    Texts are in hex or hashed, so that no separator occurs in them. Columns that are added later are NULL in adopted
    rows: CONCAT_WS skips NULL. Columns that become wider keep the text of each value. So the checksum of unchanged rows
    stays the same.
    """
    hashed = [_hashed(contract.by_name[name]) for name in STANDARD_FIELDS]
    hashed += [f"COALESCE({name}, '-')" for name in ("kafka_offset", "produced_at", "stored_at")]
    hashed.append("CONCAT('order_timestamp=', NULLIF(MICROSECOND(order_timestamp), 0))")
    hashed += sorted(f"CONCAT('{field.name}=', {_hashed_custom(field)})" for field in contract.custom_columns)
    return f"CAST(CONV(LEFT(SHA2(CONCAT_WS('|', {', '.join(hashed)}), 256), 15), 16, 10) AS DECIMAL(20))"


def _hashed(field: Field) -> str:
    if field.kind is Kind.TIMESTAMP:
        return f"LEFT({field.name}, 19)"  # its microseconds are hashed separately
    return f"HEX({field.name})" if pa.types.is_string(field.arrow_type) else field.name


def _hashed_custom(field: Field) -> str:
    column = identifier(field)
    if field.kind is Kind.TIMESTAMP:
        return f"CAST({column} AS DATETIME(6))"
    if field.kind is Kind.DECIMAL:
        return f"CAST({column} AS DECIMAL(46,18))"  # holds every decimal of a contract
    return f"SHA2({column}, 256)" if pa.types.is_string(field.arrow_type) else column


@cache
def files() -> dict[str, Traversable]:
    """Return the file of each statement by its name. The folders only group the files."""
    folders = [folder for folder in resources.files("orderflow.store").joinpath("sql").iterdir() if folder.is_dir()]
    sql_files = [file for folder in folders for file in folder.iterdir() if file.name.endswith(".sql")]
    by_name = {file.name.removesuffix(".sql"): file for file in sql_files}
    assert len(by_name) == len(sql_files), "a name is used twice"
    return by_name


@cache
def _text(name: str) -> str:
    return without_comment(files()[name].read_text("utf-8"))


def without_comment(text: str) -> str:
    """Return the statement without its leading comment."""
    lines = text.splitlines()
    return "\n".join(dropwhile(lambda line: line.startswith("--"), lines)).strip()
