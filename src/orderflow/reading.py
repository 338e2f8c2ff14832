"""Many messages at once, as columns: what the exact reading of the contract says of each, many times faster.

native.c confirms messages in plain spelling; every other one goes to `read_exactly`, which accepts it or names the
reason. A property test holds the two together. Rejected: msgspec on the run as one array and Order objects; Arrow's
JSON reader and column operations, which took five times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa

from orderflow import native
from orderflow.errors import RecordRejected
from orderflow.order import FIELDS, Order, outside_ranges, read_exactly

_TYPES = dict.fromkeys(("customer_id", "quantity"), pa.int32()) | dict.fromkeys(
    ("unit_price", "total_price"), pa.decimal128(10, 2)
)
SCHEMA = pa.schema([*((name, _TYPES.get(name, pa.string())) for name in FIELDS), ("place", pa.int64())])


class Reading(NamedTuple):
    """What a run of values turned out to be. `orders` has the columns of SCHEMA; places count from the run's start."""

    orders: pa.Table
    rejected: Sequence[tuple[int, RecordRejected]]
    unknown_fields: Sequence[tuple[int, Sequence[str]]]  # place and names

    @property
    def results(self) -> list[Order | RecordRejected]:
        """One for each value, in order."""
        results: list[Order | RecordRejected | None] = [None] * (self.orders.num_rows + len(self.rejected))
        for place, order in zip(self.orders["place"].to_pylist(), as_orders(self.orders), strict=True):
            results[place] = order
        for place, rejected in self.rejected:
            results[place] = rejected
        return results  # type: ignore[return-value] # all places are filled


def read(values: Sequence[bytes | None], *, enforce_ranges: bool = False) -> Reading:
    """Read a run of message values. Never raises for what a value holds."""
    orders = native.read(pa.array(values, pa.large_binary()), SCHEMA)
    if enforce_ranges:
        orders = orders.filter(pa.array([not outside_ranges(order) for order in as_orders(orders)], pa.bool_()))
    if orders.num_rows == len(values):
        return Reading(orders, (), ())
    accepted: list[tuple[object, ...]] = []
    rejected: list[tuple[int, RecordRejected]] = []
    unknown: list[tuple[int, Sequence[str]]] = []
    for place in sorted({*range(len(values))}.difference(orders["place"].to_pylist())):
        try:
            order, names = read_exactly(values[place], enforce_ranges)
        except RecordRejected as rejection:
            rejected.append((place, rejection))
        else:
            accepted.append((order, place))
            if names:
                unknown.append((place, names))
    if accepted:
        others = as_table(*zip(*accepted, strict=True))
        orders = pa.concat_tables([orders, others]).sort_by("place") if orders.num_rows else others
    return Reading(orders, rejected, unknown)


def as_table(orders: Sequence[Order], places: Sequence[int]) -> pa.Table:
    """The orders in columns, as `read` gives them."""
    columns = [[getattr(order, name) for order in orders] for name in FIELDS]
    return pa.table([*columns, places], schema=SCHEMA)


def as_orders(table: pa.Table) -> Iterable[Order]:
    """The rows one by one."""
    return map(Order, *(table[name].to_pylist() for name in FIELDS))
