"""Reads and decodes records as they arrive, for `orderflow console`.

It uses a plain Kafka client. A Spark query would show the same records several seconds later.
"""

from __future__ import annotations

from collections.abc import Iterator

from orderflow import topic
from orderflow.contract import exact_path, loader
from orderflow.contract.definition import Order
from orderflow.errors import RecordRejected
from orderflow.order_ranges import ranges_of
from orderflow.settings import Settings
from orderflow.topic import Record


def follow_and_decode(settings: Settings, *, from_beginning: bool) -> Iterator[tuple[Record, Order | RecordRejected]]:
    """Yield each committed record with its order, or with the reason of its rejection. The iterator never ends.

    Raises TopicMissing, KafkaRefused.
    """
    contract, ranges = loader.contract_of(settings), ranges_of(settings)
    for record in topic.follow(settings, from_beginning=from_beginning):
        try:
            yield record, exact_path.decode(record.value, contract, ranges)
        except RecordRejected as rejected:
            yield record, rejected
