"""Stores orders in the tables with the store's own writer, without Kafka, to test readers of the tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from orderflow.settings import Settings
from orderflow.store import schema
from orderflow.store.record_batch import RecordBatch
from orderflow.store.writer import Committed, Writer
from tests.corpus import message, quoted


class _Topic(NamedTuple):
    topic: str
    topic_id: str = "first"

    def first_offset(self, _partition: int) -> int:
        return 0

    def holds_records(self, _partition: int, _start: int, _end: int) -> bool:
        return False

    def request_identity_check(self) -> Callable[[], None]:
        return lambda: None


class Feeder:
    """Stores records as the next ones of partition 0."""

    def __init__(self, settings: Settings) -> None:
        schema.prepare(settings)
        self._settings = settings
        self._next = 0

    def store(self, *values: bytes | None, late: float = 0.05) -> Committed:
        """Store one transaction. Kafka received its records `late` seconds ago."""
        offsets = range(self._next, self._next + len(values))
        self._next += len(values)
        with Writer(self._settings, _Topic(self._settings.kafka_topic)) as writer:
            produced = [int((time.time() - late) * 1000)] * len(values)
            return writer.commit(RecordBatch([0] * len(values), offsets, produced, [b"key"] * len(values), values))


def order(number: int, placed: datetime | None = None, **fields: object) -> bytes:
    """Return an order placed at `placed` (default: now). `fields` are JSON numbers (as text or int) or quoted text."""
    placed = placed or datetime.now(UTC)
    tokens = {"order_id": f'"ORDER-{number:06d}"', "order_timestamp": f'"{placed:%Y-%m-%dT%H:%M:%S}"'}
    return message(**tokens, **{name: str(value) for name, value in fields.items()})


def priced(number: int, cents: int, quantity: int, placed: datetime | None = None, **texts: str) -> bytes:
    """Return an order of this unit price. `texts` are plain strings, such as product_name."""
    amounts = {
        "unit_price": f"{cents // 100}.{cents % 100:02d}",
        "quantity": str(quantity),
        "total_price": f"{cents * quantity // 100}.{cents * quantity % 100:02d}",
    }
    return order(number, placed, **amounts, **{name: quoted(text) for name, text in texts.items()})


def many(first: int, count: int, categories: Sequence[str] = ("Sports & Outdoors",)) -> list[bytes]:
    """Return orders with different amounts, products and customers."""
    return [
        priced(
            number,
            5_000 + number * 7 % 90_000,
            1 + number % 5,
            product_name=f"Product {number % 9}",
            product_category=categories[number % len(categories)],
        ).replace(b"87654", str(50_000 + number % 10).encode())
        for number in range(first, first + count)
    ]
