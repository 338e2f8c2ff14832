"""SQL by name: one statement, one file in sql/. Identifiers are filled in here, values never."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache, lru_cache
from importlib import resources

from orderflow import order
from orderflow.settings import Settings


def table_names(settings: Settings) -> dict[str, str]:
    """The name each table has in the statements, and in the database."""
    prefix = settings.mysql_table
    return {
        "orders": prefix,
        "ledger": f"{prefix}_ledger",
        "quarantine": f"{prefix}_quarantine",
        "parts": f"{prefix}_record_parts",
        "losses": f"{prefix}_losses",
        "audits": f"{prefix}_audits",
        "by_minute": f"{prefix}_by_minute",
        "per_minute": f"{prefix}_per_minute",
        "per_day": f"{prefix}_per_day",
        "per_reason": f"{prefix}_per_reason",
    }


def sql(name: str, settings: Settings, **placeholders: str) -> str:
    """The statement of this name for these settings' tables.

    `placeholders` fills lists of %s whose length only the caller knows, see `marks`.
    """
    return _text(name).format(**_identifiers(settings), **placeholders)


def marks(values: Collection[object]) -> str:
    """A %s for each of the values."""
    return ", ".join(["%s"] * len(values))


@lru_cache(maxsize=8)  # each transaction asks several times
def _identifiers(settings: Settings) -> dict[str, str]:
    return {key: f"`{table}`" for key, table in table_names(settings).items()} | {
        "database": f"`{settings.mysql_database}`",
        "order_names": ", ".join(order.FIELDS),
        "order_columns": ",\n  ".join(f"{column} {kind}" for column, kind in order.columns().items()),
    }


@cache
def _text(name: str) -> str:
    return resources.files("orderflow.store").joinpath("sql", f"{name}.sql").read_text("utf-8").strip()
