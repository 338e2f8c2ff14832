"""Everything known about one order, and the search for orders."""

from __future__ import annotations

import re

import msgspec

from orderflow.contract import loader
from orderflow.contract.definition import Contract, Kind
from orderflow.contract.order_ids import OrderIds
from orderflow.errors import InputInvalid
from orderflow.store import viewer_queries
from orderflow.store.connection import Connection
from orderflow.store.viewer_queries import DisplayedOrder, DisplayedQuarantineEntry

_MAX_ORDERS = 50
_NUMBER = re.compile(r"[0-9]{1,44}")


class TrackedOrder(msgspec.Struct, frozen=True):
    """The row of an order_id, and the records of that id in the quarantine, newest first.

    `to_kafka` is the time from order_timestamp to Kafka and `to_table` the time from Kafka to the table, in seconds.
    Repeats with the same content are only counted in the ledger; repeats with other content are the conflicts in the
    quarantine.
    """

    order_id: str
    order: DisplayedOrder | None
    to_kafka: float | None
    to_table: float | None
    quarantined: tuple[DisplayedQuarantineEntry, ...]


class SearchResult(msgspec.Struct, frozen=True):
    """The order of the id or number searched for, and the orders of that customer (50 at most).

    `order_id` is the id of the order if nothing else was searched for.
    """

    order: DisplayedOrder | None
    customer_id: int | str | None
    orders: tuple[DisplayedOrder, ...]
    order_id: str | None


def track_order(connection: Connection, order_id: str) -> TrackedOrder:
    """Read everything about the order of this id or number.

    Raises InputInvalid if this is not an order_id.
    """
    ids = OrderIds(loader.contract_of(connection.settings))
    possible = _possible_ids(ids, order_id)
    if not possible:
        raise InputInvalid(f"{order_id[:60]!a} is not an order id.", hint=f"An order id is like {ids.make(123)}.")
    candidates = [_track(connection, id_) for id_ in possible]
    return next((candidate for candidate in candidates if candidate.order or candidate.quarantined), candidates[0])


def _track(connection: Connection, order_id: str) -> TrackedOrder:
    order = viewer_queries.read_order(connection, order_id)
    produced, stored = (order.produced_at, order.stored_at) if order else (None, None)
    return TrackedOrder(
        order_id,
        order,
        (produced - order.order_timestamp).total_seconds() if order and produced else None,
        (stored - produced).total_seconds() if produced and stored else None,
        viewer_queries.read_quarantined_as(connection, order_id),
    )


def search(connection: Connection, query: str) -> SearchResult:
    """Find the order of this id or number, and the orders of this customer.

    Raises InputInvalid if the query can be neither.
    """
    query = query.strip()
    contract = loader.contract_of(connection.settings)
    ids = OrderIds(contract)
    possible, customer = _possible_ids(ids, query), _parse_customer(contract, query)
    if not possible and customer is None:
        raise InputInvalid(
            f"{query[:60]!a} is neither an order id nor a customer id.",
            hint=f"Search for {ids.make(123)}, for a number, or for a customer.",
        )
    order = next(filter(None, (viewer_queries.read_order(connection, id_) for id_ in possible)), None)
    orders = viewer_queries.read_orders_of(connection, customer, _MAX_ORDERS) if customer is not None else ()
    is_id = bool(possible) and not _NUMBER.fullmatch(query) and (order is not None or customer is None)
    return SearchResult(order, customer, orders, (order.order_id if order else possible[0]) if is_id else None)


def _possible_ids(ids: OrderIds, query: str) -> list[str]:
    """Return the order ids that the query may mean: a number alone means the id that is made from it."""
    query = query.strip()
    number = [ids.make(int(query))] if _NUMBER.fullmatch(query) else []
    return [text for text in dict.fromkeys([*number, query, query.upper()]) if ids.is_valid(text)]


def _parse_customer(contract: Contract, query: str) -> int | str | None:
    field = contract.by_name["customer_id"]
    if field.kind is Kind.STRING:
        return query if 0 < len(query) <= field.max_length else None
    return int(query) if _NUMBER.fullmatch(query) and field.lowest <= int(query) <= field.highest else None
