"""What viewers ask of the tables: short reads on indexes, of a session that can change nothing.

No index knows the order in which rows came, so "latest" means latest by order_timestamp, which an index has; an
order dated more than a minute ahead is left out of it, lest it stand at the top until its day.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from orderflow.settings import Settings
from orderflow.store.connection import Connection
from orderflow.store.statements import marks

EVERY_ID = 2**63 - 1  # no quarantine_id reaches it


class StoredOrder(msgspec.Struct, frozen=True):
    """A row of the orders table with its provenance, which rows of before and rows added by hand lack."""

    customer_id: int
    order_id: str
    product_name: str
    product_category: str
    unit_price: Decimal
    quantity: int
    total_price: Decimal
    order_timestamp: datetime
    partition: int | None
    offset: int | None
    produced_at: datetime | None
    stored_at: datetime | None


class Quarantined(msgspec.Struct, frozen=True):
    """A row of the quarantine; key and value are cut at 256 and 2048 bytes, `value_bytes` is the value's real size."""

    quarantine_id: int
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    value_bytes: int | None
    produced_at: datetime | None
    quarantined_at: datetime
    reason: str
    detail: str
    order_id: str | None
    status: str
    resolved_by: str | None
    resolved_at: datetime | None


class Sales(msgspec.Struct, frozen=True):
    """Orders, units sold and revenue of something."""

    name: str
    orders: int
    units: int
    revenue: Decimal


class SalesOf(msgspec.Struct, frozen=True):
    """Sales of the orders placed from `since` up to, without, `until`: in all, and of the (at most 7) leading names."""

    since: datetime
    until: datetime
    orders: int
    units: int
    revenue: Decimal
    leading: tuple[Sales, ...]


class Bucket(msgspec.Struct, frozen=True):
    """Sales within one piece of a history. `category` is None for all that are not among the leading ones."""

    start: datetime
    category: str | None
    orders: int
    revenue: Decimal


@contextmanager
def opened(settings: Settings) -> Iterator[Connection]:
    """A read-only connection, of MYSQL_READER_USER if that is set; the server ends statements after 3 seconds.

    Raises DatabaseUnavailable or DatabaseRefused.
    """
    with Connection(settings.for_reading) as connection:
        connection.run("set_read_only")
        connection.run("set_time_limit")
        yield connection


def latest(connection: Connection, count: int) -> tuple[StoredOrder, ...]:
    """The latest orders by order_timestamp, the latest first."""
    return _orders(connection, "select_latest_orders", count)


def order(connection: Connection, order_id: str) -> StoredOrder | None:
    """The order of this id."""
    return next(iter(_orders(connection, "select_order", order_id)), None)


def orders_of(connection: Connection, customer_id: int, count: int) -> tuple[StoredOrder, ...]:
    """So many orders of the customer, the highest order_id first."""
    return _orders(connection, "select_orders_of_customer", customer_id, count)


def latencies(connection: Connection, since: datetime) -> list[tuple[float, datetime]]:
    """Seconds from Kafka's timestamp to the table, and when stored, of 2,000 orders at most placed after `since`."""
    rows = connection.run("select_latencies", (_naive(since),)).rows
    return [(float(seconds), _utc(stored_at)) for seconds, stored_at in rows]


def products(connection: Connection) -> SalesOf | None:
    """The products that sold most units among the latest 5,000 orders; None if there is no order.

    Bounded, for the rollup does not know products, and a sum over the table would read it all.
    """
    rows = connection.run("select_products").rows
    if not rows:
        return None
    *_, since, until, orders, units, revenue = rows[0]
    leading = tuple(Sales(name, int(count), int(sold), amount) for name, count, sold, amount, *_ in rows)
    until = _utc(until) + timedelta(seconds=1)
    return SalesOf(_utc(since), until, int(orders), int(units), revenue, leading)


def sales(connection: Connection, since: datetime, until: datetime) -> SalesOf:
    """Exact sums by category over whole minutes, from the rollup."""
    rows = connection.run("select_sales", (_naive(since), _naive(until))).rows
    leading = tuple(Sales(name, int(orders), int(units), revenue) for name, orders, units, revenue, *_ in rows)
    orders, units, revenue = rows[0][4:] if rows else (0, 0, Decimal("0.00"))
    return SalesOf(since, until, int(orders), int(units), revenue, leading)


def history(connection: Connection, over: SalesOf, step: timedelta) -> tuple[Bucket, ...]:
    """The same sales over time, in pieces of `step` (whole minutes)."""
    names = [sales.name for sales in over.leading]
    if not names:
        return ()
    seconds = int(step.total_seconds())
    rows = connection.run(
        "select_history",
        (seconds, *names, _naive(over.since), _naive(over.until)),
        categories=marks(names),
    ).rows
    return tuple(
        Bucket(datetime.fromtimestamp(int(number) * seconds, UTC), category, int(orders), revenue)
        for number, category, orders, revenue in rows
    )


def open_by_reason(connection: Connection) -> dict[str, int]:
    """How many records of the quarantine are open, the most frequent reason first."""
    return dict(connection.run("count_quarantined_by_reason").rows)


def quarantined(connection: Connection, reason: str | None = None, before: int = EVERY_ID) -> tuple[Quarantined, ...]:
    """The 50 newest entries with a quarantine_id below `before`: those of a reason that are open, or all."""
    if reason is None:
        return _quarantined(connection, "select_quarantine_newest", before)
    return _quarantined(connection, "select_quarantine_of_reason", reason, before)


def quarantined_as(connection: Connection, order_id: str) -> tuple[Quarantined, ...]:
    """The 50 newest entries whose record bore this order_id and could be read so far: its conflicts, mostly."""
    return _quarantined(connection, "select_quarantine_of_order", order_id)


def _orders(connection: Connection, statement: str, *values: object) -> tuple[StoredOrder, ...]:
    return tuple(StoredOrder(*map(_utc_if_time, row)) for row in connection.run(statement, values).rows)


def _quarantined(connection: Connection, statement: str, *values: object) -> tuple[Quarantined, ...]:
    return tuple(Quarantined(*map(_utc_if_time, row)) for row in connection.run(statement, values).rows)


def _utc_if_time(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
