"""How long orders take from Kafka to the table."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import msgspec

from orderflow.store import reading
from orderflow.store.connection import Connection

_SPAN = timedelta(minutes=1)


class Latency(msgspec.Struct, frozen=True):
    """Seconds from the record's timestamp in Kafka to `stored_at`, over `orders` orders, the last of them stored then.

    Two clocks are involved, the producer's and the database's: what is below their difference means nothing.
    """

    p50: float
    p99: float
    orders: int
    stored_at: datetime


def read(connection: Connection, newest: datetime) -> Latency | None:
    """Of the orders placed within a minute before `newest` (2,000 at most); None if there is none."""
    found = reading.latencies(connection, newest - _SPAN)
    if not found:
        return None
    seconds = sorted(taken for taken, _ in found)
    return Latency(
        _percentile(seconds, 0.5), _percentile(seconds, 0.99), len(seconds), max(stored_at for _, stored_at in found)
    )


def _percentile(ascending: list[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    return ascending[math.ceil(share * len(ascending)) - 1]
