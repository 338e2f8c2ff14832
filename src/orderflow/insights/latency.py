"""The latency of orders from Kafka to the table."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import msgspec

from orderflow.store import viewer_queries
from orderflow.store.connection import Connection

_SPAN = timedelta(minutes=1)


class Latency(msgspec.Struct, frozen=True):
    """Percentiles, in seconds, of the time from the record's timestamp in Kafka to the order's `stored_at`.

    `orders` is the number of orders measured, and `stored_at` is when the last of them was stored. Two clocks are
    involved, the producer's and the database's, so values below their difference are not meaningful.
    """

    p50: float
    p99: float
    orders: int
    stored_at: datetime


def read(connection: Connection, newest: datetime) -> Latency | None:
    """The latency of the orders placed in the minute before `newest` (2,000 at most); None if there are none."""
    latencies = viewer_queries.read_latencies(connection, newest - _SPAN)
    if not latencies:
        return None
    seconds = sorted(latency for latency, _ in latencies)
    return Latency(
        _percentile(seconds, 0.5),
        _percentile(seconds, 0.99),
        len(seconds),
        max(stored_at for _, stored_at in latencies),
    )


def _percentile(ascending: list[float], share: float) -> float:
    """The smallest value that is greater than or equal to this share of the values."""
    return ascending[math.ceil(share * len(ascending)) - 1]
