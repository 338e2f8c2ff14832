"""The per-minute rollup: orders, units and revenue by minute, category and partition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from orderflow.store.connection import Connection
from orderflow.store.run import Row

_ROWS = 1000  # per statement


def add(connection: Connection, rows: Iterable[Row], partition: int) -> None:
    """Count rows that were stored in this transaction."""
    sums: defaultdict[tuple[str, str], list[Decimal | int]] = defaultdict(lambda: [0, 0, Decimal(0)])
    for order, _, _ in rows:
        entry = sums[order.order_timestamp[:16], order.product_category]
        entry[0] += 1
        entry[1] += order.quantity
        entry[2] += order.total_price
    # One order for all writers, so that two of them cannot deadlock here.
    ordered = sorted(sums.items())
    for start in range(0, len(ordered), _ROWS):
        connection.run_rows(
            "add_by_minute",
            [
                (f"{minute}:00", category, partition, *numbers)
                for (minute, category), numbers in ordered[start : start + _ROWS]
            ],
        )
