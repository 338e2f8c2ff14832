"""All tables as they stood at one moment, for the audit: what is written meanwhile does not show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from orderflow.settings import Settings
from orderflow.store import quarantine
from orderflow.store.connection import Connection
from orderflow.store.ledger import Entry
from orderflow.store.quarantine import Status


class Quarantined(NamedTuple):
    """A row of the quarantine: the record as it was kept, and what became of it."""

    key: bytes | None
    value: bytes | None
    mended: bytes | None
    reason: str
    order_id: str | None
    status: Status
    resolved_by: str | None
    resolved_at: datetime | None
    resolved_because: str | None

    @property
    def resolved_in_order(self) -> bool:
        """Whether who, when, why and the mended value are there exactly where the status calls for them."""
        resolved = self.status != "open"
        return (
            (self.resolved_by is not None) == (self.resolved_at is not None) == resolved
            and (self.resolved_because is not None) == (self.status == "discarded")
            and (self.mended is None or self.status == "replayed")
        )


class Kept(NamedTuple):
    """Where a row of the quarantine says its record is."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    order_id: str | None


class RollupDifference(NamedTuple):
    """A minute of the rollup, less what the orders table holds of it. Rows added by hand have no partition."""

    minute: datetime
    category: str
    partition: int | None
    orders: int
    units: int
    revenue: Decimal


@contextmanager
def opened(settings: Settings) -> Iterator[Connection]:
    """A connection, of MYSQL_READER_USER if that is set, whose statements all see the moment it was opened at.

    Ledger, orders, quarantine and rollup agree in it, for they are written in one transaction. Under READ COMMITTED
    each statement would see its own moment. The server keeps old row versions for it: it must not stay open for hours.
    Raises DatabaseUnavailable or DatabaseRefused.
    """
    with Connection(settings.for_reading) as connection:
        connection.run("set_repeatable_read")
        connection.run("start_snapshot")
        yield connection


def ledger(connection: Connection) -> list[Entry]:
    """All rows, by topic and partition."""
    return [Entry(*row) for row in connection.run("select_ledger").rows]


def quarantined(connection: Connection, topic_id: str, partition: int, start: int, end: int) -> dict[int, Quarantined]:
    """Offset to row, of the records with `start` <= offset < `end`."""
    found: dict[int, Quarantined] = {}
    for offset, *fields, mended, parts, reason, order_id, status, by, at, because in connection.run(
        "select_quarantined", (topic_id, partition, start, end)
    ).rows:
        key, value = quarantine.whole(connection, topic_id, partition, offset, fields) if parts else fields
        found[offset] = Quarantined(key, value, mended, reason, order_id, status, by, at, because)
    return found


def count_orders(connection: Connection) -> tuple[int, int]:
    """How many rows the orders table has, and how many of them were there before OrderFlow took it over."""
    rows, adopted = connection.run("count_orders").rows[0]
    return rows, adopted


def count_quarantine(connection: Connection) -> int:
    """How many rows the quarantine has."""
    return int(connection.run("count_quarantine").rows[0][0])


def every_order(connection: Connection) -> Iterator[tuple[str, int | None, int | None]]:
    """order_id, partition and offset of every row."""
    last: str | None = None
    while rows := connection.run("select_order_coordinates", (last, last)).rows:
        yield from rows
        last = rows[-1][0]


def every_quarantined(connection: Connection) -> Iterator[Kept]:
    """Every row of the quarantine, without its record."""
    last = 0
    while rows := connection.run("select_quarantine_coordinates", (last,)).rows:
        yield from (Kept(*row) for _, *row in rows)
        last = rows[-1][0]


def rollup_differences(connection: Connection, most: int) -> tuple[int, list[RollupDifference]]:
    """In how many places the rollup differs from the orders table, and the first so many of them."""
    connection.run("set_group_memory")
    rows = connection.run("select_rollup_differences", (most,)).rows
    differences = [
        RollupDifference(minute, category, partition, int(orders), int(units), revenue)
        for minute, category, partition, orders, units, revenue, _ in rows
    ]
    return (rows[0][-1] if rows else 0), differences
