"""SQL by name: one statement, one file in sql/. Identifiers are filled in here, values never."""

from __future__ import annotations

from functools import cache
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
        "by_minute": f"{prefix}_by_minute",
        "per_minute": f"{prefix}_per_minute",
    }


def sql(name: str, settings: Settings, **placeholders: str) -> str:
    """The statement of this name for these settings' tables.

    `placeholders` fills lists of %s whose length only the caller knows.
    """
    identifiers = {key: f"`{table}`" for key, table in table_names(settings).items()}
    return _text(name).format(
        **identifiers,
        database=f"`{settings.mysql_database}`",
        order_names=", ".join(order.FIELDS),
        order_columns=",\n  ".join(f"{column} {kind}" for column, kind in order.columns().items()),
        **placeholders,
    )


@cache
def _text(name: str) -> str:
    return resources.files("orderflow.store").joinpath("sql", f"{name}.sql").read_text("utf-8").strip()
