"""The queries of viewers: short reads on indexes, in a read-only session.

No index has the order in which rows arrived, so "latest" means latest by order_timestamp, which has an index. An order
dated more than a minute ahead is excluded: it would otherwise stay at the top until that time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from orderflow.contract import loader
from orderflow.contract.definition import STANDARD_FIELDS, Field, Kind
from orderflow.settings import Settings
from orderflow.store.connection import Connection
from orderflow.store.statements import placeholders_for

EVERY_ID = 2**63 - 1  # no quarantine_id reaches it


class DisplayedOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of the orders table with its provenance, which adopted rows and rows added by hand lack.

    `custom_fields` maps the names of the contract's custom fields to their values; it is empty in lists of orders.
    """

    customer_id: int | str
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
    custom_fields: dict[str, object] = {}


class DisplayedQuarantineEntry(msgspec.Struct, frozen=True):
    """A row of the quarantine. Key and value are cut at 256 and 2048 bytes; `value_bytes` is the value's full size."""

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


class GroupSales(msgspec.Struct, frozen=True):
    """Orders, units sold and revenue of one group."""

    name: str
    orders: int
    units: int
    revenue: Decimal


class SalesSummary(msgspec.Struct, frozen=True):
    """Sales of orders placed from `since` up to, not including, `until`: in total, and for up to 7 leading names."""

    since: datetime
    until: datetime
    orders: int
    units: int
    revenue: Decimal
    leading: tuple[GroupSales, ...]


class SalesInterval(msgspec.Struct, frozen=True):
    """Sales within one interval of a history. `category` is None for the sum of all but the leading categories."""

    start: datetime
    category: str | None
    orders: int
    revenue: Decimal


@contextmanager
def open_reader(settings: Settings) -> Iterator[Connection]:
    """Open a read-only connection, as MYSQL_READER_USER if that is set. The server ends statements after 3 seconds.

    Raises DatabaseUnavailable or DatabaseRefused.
    """
    with Connection(settings.for_reading) as connection:
        connection.execute("set_read_only")
        connection.execute("set_time_limit")
        yield connection


def read_latest(connection: Connection, count: int) -> tuple[DisplayedOrder, ...]:
    """Return the latest orders by order_timestamp, the latest first."""
    return _read_orders(connection, "select_latest_orders", count=count)


def read_order(connection: Connection, order_id: str) -> DisplayedOrder | None:
    """Return the order with this id; None if it does not exist."""
    rows = connection.execute("select_order", {"order_id": order_id}).rows
    if not rows:
        return None
    cells, fields = [*map(_utc_if_time, rows[0])], loader.contract_of(connection.settings).custom_columns
    end = len(STANDARD_FIELDS) + len(fields)
    custom_fields = map_custom_values(fields, cells[len(STANDARD_FIELDS) : end])
    return DisplayedOrder(*[*cells[: len(STANDARD_FIELDS)], *cells[end:], custom_fields])


def read_orders_of(connection: Connection, customer_id: int | str, count: int) -> tuple[DisplayedOrder, ...]:
    """Return up to `count` orders of the customer, the highest order_id first."""
    return _read_orders(connection, "select_orders_of_customer", customer_id=customer_id, count=count)


def read_latencies(connection: Connection, since: datetime) -> list[tuple[float, datetime]]:
    """Return seconds from Kafka's timestamp to the table, and stored_at, of up to 2,000 orders placed after `since`."""
    rows = connection.execute("select_latencies", {"since": _naive(since)}).rows
    return [(float(seconds), _utc(stored_at)) for seconds, stored_at in rows]


def read_products(connection: Connection) -> SalesSummary | None:
    """Return the products that sold the most units among the latest 5,000 orders; None if there is no order.

    The number is limited because the rollup has no products, and a sum over the table would read all of it.
    """
    rows = connection.execute("select_products").rows
    if not rows:
        return None
    *_, since, until, orders, units, revenue = rows[0]
    leading = tuple(GroupSales(name, int(count), int(sold), amount) for name, count, sold, amount, *_ in rows)
    until = _utc(until) + timedelta(seconds=1)
    return SalesSummary(_utc(since), until, int(orders), int(units), revenue, leading)


def read_sales(connection: Connection, since: datetime, until: datetime) -> SalesSummary:
    """Return exact sums by category over whole minutes, from the rollup."""
    rows = connection.execute("select_sales", {"since": _naive(since), "until": _naive(until)}).rows
    leading = tuple(GroupSales(name, int(orders), int(units), revenue) for name, orders, units, revenue, *_ in rows)
    orders, units, revenue = rows[0][4:] if rows else (0, 0, Decimal("0.00"))
    return SalesSummary(since, until, int(orders), int(units), revenue, leading)


def read_history(connection: Connection, summary: SalesSummary, step: timedelta) -> tuple[SalesInterval, ...]:
    """Return the same sales over time, in intervals of `step` (whole minutes)."""
    names = [sales.name for sales in summary.leading]
    if not names:
        return ()
    seconds = int(step.total_seconds())
    rows = connection.execute(
        "select_history",
        (seconds, *names, _naive(summary.since), _naive(summary.until)),
        categories=placeholders_for(names),
    ).rows
    return tuple(
        SalesInterval(datetime.fromtimestamp(int(number) * seconds, UTC), category, int(orders), revenue)
        for number, category, orders, revenue in rows
    )


def count_open_by_reason(connection: Connection) -> dict[str, int]:
    """Return the number of open quarantined records by reason, the most frequent reason first."""
    return dict(connection.execute("count_quarantined_by_reason").rows)


def read_quarantined(
    connection: Connection, reason: str | None = None, before: int = EVERY_ID
) -> tuple[DisplayedQuarantineEntry, ...]:
    """Return the 50 newest entries with a quarantine_id below `before`: the open ones of a reason, or all."""
    if reason is None:
        return _read_quarantined(connection, "select_quarantine_newest", before_id=before)
    return _read_quarantined(connection, "select_quarantine_of_reason", reason=reason, before_id=before)


def read_quarantined_as(connection: Connection, order_id: str) -> tuple[DisplayedQuarantineEntry, ...]:
    """Return the 50 newest entries of records whose order_id could be read. Most of them are conflicts."""
    return _read_quarantined(connection, "select_quarantine_of_order", order_id=order_id)


def _read_orders(connection: Connection, statement: str, **values: object) -> tuple[DisplayedOrder, ...]:
    rows = connection.execute(statement, values).rows
    return tuple(DisplayedOrder(*map(_utc_if_time, row)) for row in rows)


def map_custom_values(fields: Sequence[Field], values: Sequence[Any]) -> dict[str, object]:
    """Map the names of custom columns to their values, and the database's 0 and 1 of booleans to False and True."""
    return {
        field.name: bool(value) if field.kind is Kind.BOOLEAN and value is not None else value
        for field, value in zip(fields, values, strict=True)
    }


def _read_quarantined(connection: Connection, statement: str, **values: object) -> tuple[DisplayedQuarantineEntry, ...]:
    return tuple(
        DisplayedQuarantineEntry(*map(_utc_if_time, row)) for row in connection.execute(statement, values).rows
    )


def _utc_if_time(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
