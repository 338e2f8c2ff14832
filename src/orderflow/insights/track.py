"""One order's story, and the search that finds it."""

from __future__ import annotations

import re

import msgspec

from orderflow.errors import InputInvalid
from orderflow.order import INT_MAX, ORDER_ID
from orderflow.store import reading
from orderflow.store.connection import Connection
from orderflow.store.reading import Quarantined, StoredOrder

_MOST = 50
_NUMBER = re.compile(r"[0-9]{1,44}")


class Story(msgspec.Struct, frozen=True):
    """What is known of an order_id: its row, and the records of that id in the quarantine, the newest first.

    Delays are seconds: from the order's own time to Kafka, and from Kafka to the table. Repeats with the same content
    are counted in the ledger, not kept one by one; those with other content are the conflicts in the quarantine.
    """

    order_id: str
    order: StoredOrder | None
    to_kafka: float | None
    to_table: float | None
    quarantined: tuple[Quarantined, ...]


class Found(msgspec.Struct, frozen=True):
    """What a search found: the orders of that number and of that customer (50 at most)."""

    order: StoredOrder | None
    customer_id: int | None
    orders: tuple[StoredOrder, ...]


def story(connection: Connection, order_id: str) -> Story:
    """The order of this id, or of this number.

    Raises InputInvalid if it can be no order_id.
    """
    wanted = _order_id(order_id)
    if wanted is None:
        raise InputInvalid(
            f"{order_id[:60]!a} is no order id.", hint="It is ORDER- and six or more digits, such as ORDER-000123."
        )
    order = reading.order(connection, wanted)
    produced, stored = (order.produced_at, order.stored_at) if order else (None, None)
    return Story(
        wanted,
        order,
        (produced - order.order_timestamp).total_seconds() if order and produced else None,
        (stored - produced).total_seconds() if produced and stored else None,
        reading.quarantined_as(connection, wanted),
    )


def search(connection: Connection, words: str) -> Found:
    """The order of this id or number, and the orders of the customer of this number.

    Raises InputInvalid if the words can be neither.
    """
    words = words.strip()
    wanted = _order_id(words)
    if wanted is None:
        raise InputInvalid(
            f"{words[:60]!a} is neither an order id nor a customer id.",
            hint="Search for ORDER-000123, or for a number.",
        )
    customer = int(words) if _NUMBER.fullmatch(words) and int(words) <= INT_MAX else None
    orders = reading.orders_of(connection, customer, _MOST) if customer else ()
    return Found(reading.order(connection, wanted), customer, orders)


def _order_id(words: str) -> str | None:
    words = words.strip().upper()
    if _NUMBER.fullmatch(words):
        words = f"ORDER-{int(words):06d}"
    return words if ORDER_ID.fullmatch(words) else None
