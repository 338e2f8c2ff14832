"""The console reader: records as they arrive, read by the contract, for a person who debugs.

It reads with a plain Kafka client: a Spark query would show the same, seconds later.
"""

from __future__ import annotations

from collections.abc import Iterator

from orderflow import order, topic
from orderflow.errors import RecordRejected
from orderflow.order import Order
from orderflow.settings import Settings
from orderflow.topic import Record


def arriving(settings: Settings, *, from_beginning: bool) -> Iterator[tuple[Record, Order | RecordRejected]]:
    """Each committed record and what the contract makes of it, for ever.

    Raises TopicMissing, KafkaRefused.
    """
    enforce = settings.order_ranges == "enforce"
    for record in topic.follow(settings, from_beginning=from_beginning):
        try:
            yield record, order.decode(record.value, enforce_ranges=enforce)
        except RecordRejected as rejected:
            yield record, rejected
