"""Everything known about one order, and the search for orders."""

from __future__ import annotations

import re

import msgspec

from orderflow.contract.definition import INT_MAX, ORDER_ID
from orderflow.errors import InputInvalid
from orderflow.store import reading
from orderflow.store.connection import Connection
from orderflow.store.reading import Quarantined, StoredOrder

_MAX_ORDERS = 50
_NUMBER = re.compile(r"[0-9]{1,44}")


class TrackedOrder(msgspec.Struct, frozen=True):
    """The row of an order_id, and the records of that id in the quarantine, newest first.

    `to_kafka` is the time from order_timestamp to Kafka and `to_table` the time from Kafka to the table, in seconds.
    Repeats with the same content are only counted in the ledger; repeats with other content are the conflicts in the
    quarantine.
    """

    order_id: str
    order: StoredOrder | None
    to_kafka: float | None
    to_table: float | None
    quarantined: tuple[Quarantined, ...]


class SearchResult(msgspec.Struct, frozen=True):
    """The order of the number searched for, and the orders of the customer of that number (50 at most)."""

    order: StoredOrder | None
    customer_id: int | None
    orders: tuple[StoredOrder, ...]


def track_order(connection: Connection, order_id: str) -> TrackedOrder:
    """Read everything about the order of this id or number.

    Raises InputInvalid if this is not an order_id.
    """
    id_ = _parse_order_id(order_id)
    if id_ is None:
        raise InputInvalid(
            f"{order_id[:60]!a} is not an order id.",
            hint="An order id is ORDER- and six or more digits, such as ORDER-000123.",
        )
    order = reading.order(connection, id_)
    produced, stored = (order.produced_at, order.stored_at) if order else (None, None)
    return TrackedOrder(
        id_,
        order,
        (produced - order.order_timestamp).total_seconds() if order and produced else None,
        (stored - produced).total_seconds() if produced and stored else None,
        reading.quarantined_as(connection, id_),
    )


def search(connection: Connection, query: str) -> SearchResult:
    """Find the order of this id or number, and the orders of the customer of this number.

    Raises InputInvalid if the query is neither an order id nor a number.
    """
    query = query.strip()
    id_ = _parse_order_id(query)
    if id_ is None:
        raise InputInvalid(
            f"{query[:60]!a} is neither an order id nor a customer id.",
            hint="Search for ORDER-000123, or for a number.",
        )
    customer = int(query) if _NUMBER.fullmatch(query) and int(query) <= INT_MAX else None
    orders = reading.orders_of(connection, customer, _MAX_ORDERS) if customer else ()
    return SearchResult(reading.order(connection, id_), customer, orders)


def _parse_order_id(query: str) -> str | None:
    query = query.strip().upper()
    if _NUMBER.fullmatch(query):
        query = f"ORDER-{int(query):06d}"
    return query if ORDER_ID.fullmatch(query) else None
