"""Orders and revenue over time by category, exact to the cent, read from the rollup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from orderflow.store import viewer_queries
from orderflow.store.connection import Connection
from orderflow.store.viewer_queries import SalesInterval, SalesSummary


class Window(NamedTuple):
    """A span of time that ends now, and the length of its intervals."""

    span: timedelta
    step: timedelta


WINDOWS = {
    "15m": Window(timedelta(minutes=15), timedelta(minutes=1)),
    "1h": Window(timedelta(hours=1), timedelta(minutes=1)),
    "6h": Window(timedelta(hours=6), timedelta(minutes=5)),
    "24h": Window(timedelta(hours=24), timedelta(minutes=15)),
}


class History(msgspec.Struct, frozen=True):
    """A window's sales, in total and by interval of `step` seconds. The last interval is incomplete at `at`."""

    window: str
    at: datetime
    step: float
    sales: SalesSummary
    buckets: tuple[SalesInterval, ...]


def read_history(connection: Connection, name: str) -> History:
    """The sales of the window of this name in WINDOWS."""
    span, step = WINDOWS[name]
    now = datetime.now(UTC)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    until = day + ((now - day) // step + 1) * step
    sales = viewer_queries.read_sales(connection, until - span, until)
    return History(name, now, step.total_seconds(), sales, viewer_queries.read_history(connection, sales, step))


def read_today(connection: Connection) -> SalesSummary:
    """The sales of the current UTC day, by order_timestamp."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return viewer_queries.read_sales(connection, midnight, midnight + timedelta(days=1))
