"""Stores records with the store's own writer, without Kafka."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from orderflow.settings import Settings
from orderflow.store import schema
from orderflow.store.commit_result import CommitResult
from orderflow.store.record_batch import RecordBatch
from orderflow.store.writer import Writer
from tests.support.corpus import message, quoted

PRODUCED = 1_736_951_445_123  # 2025-01-15T14:30:45.123 UTC


class Topic(NamedTuple):
    """A topic in memory for the store. `records` are the readable records, as (partition, offset)."""

    records: frozenset[tuple[int, int]] = frozenset()
    topic: str = "orders"
    topic_id: str = "first"
    first: int = 0

    def first_offset(self, partition: int) -> int:
        return self.first

    def holds_records(self, partition: int, start: int, end: int) -> bool:
        return any((partition, offset) in self.records for offset in range(start, end))

    def request_topic_id_check(self) -> Callable[[], None]:
        return lambda: None


TOPIC = Topic()


def batch_of(
    values: Sequence[bytes | None], start: int = 0, partition: int = 0, key: bytes | None = b"key"
) -> RecordBatch:
    """Return a batch of consecutive records of a partition."""
    count = len(values)
    return RecordBatch([partition] * count, range(start, start + count), [PRODUCED] * count, [key] * count, values)


def interleaved(*batches: RecordBatch) -> RecordBatch:
    """Merge these batches into one that takes a record from each in turn."""
    merged = [
        row
        for rows in itertools.zip_longest(*(zip(*batch[:-1], strict=True) for batch in batches))
        for row in rows
        if row
    ]
    return RecordBatch(*zip(*merged, strict=True))


def commit(
    settings: Settings, batch: RecordBatch, topic_reader: Topic = TOPIC, *, load_data: bool = True
) -> CommitResult:
    """Commit the batch with a writer of its own."""
    with Writer(settings, topic_reader) as writer:
        writer.session.uses_load_data = load_data
        return writer.commit(batch)


class Feeder:
    """Stores records as the next ones of partition 0 of a topic with this id."""

    def __init__(self, settings: Settings, topic_id: str = TOPIC.topic_id) -> None:
        schema.prepare(settings)
        self._settings = settings
        self._topic = Topic(topic=settings.kafka_topic, topic_id=topic_id)
        self._next = 0

    def store(self, *values: bytes | None, late: float = 0.05) -> CommitResult:
        """Store one transaction. Kafka received its records `late` seconds ago."""
        offsets = range(self._next, self._next + len(values))
        self._next += len(values)
        with Writer(self._settings, self._topic) as writer:
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
