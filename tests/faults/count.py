"""An independent count with plain SQL, a plain consumer and the reference decoder. It uses no code of the audit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from decimal import Decimal
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from orderflow.settings import Settings
from tests import reference
from tests.reference import ReferenceOrder
from tests.sql import select

Where = tuple[int, int]  # partition, offset


class Count(NamedTuple):
    """The numbers of the topic's committed records by outcome."""

    records: int
    stored: int
    duplicates: int
    quarantined: int


def count(settings: Settings, refused: Container[str] = ()) -> Count:
    """Compare tables and topic record by record. The sink must have stored everything.

    Of the records with one order_id, the table holds the earliest one of one of their partitions. Equal records are
    duplicates; different ones are conflicts. The quarantine holds the conflicts, the records that are not orders, and
    the orders that the database has `refused`.
    """
    good: defaultdict[str, dict[Where, ReferenceOrder]] = defaultdict(dict)
    quarantine: dict[Where, bytes | None] = {}
    values: dict[Where, bytes | None] = {}
    for where, value in _records(settings):
        values[where] = value
        order = reference.read(value)
        if order is None or order.order_id in refused:
            quarantine[where] = value
        else:
            good[order.order_id][where] = order
    table = _table(settings)
    assert set(table) == set(good), f"lost or invented: {sorted(set(table) ^ set(good))[:10]}"
    duplicates = 0
    for order_id, records in good.items():
        winner, row = table[order_id]
        assert records.get(winner) == row, f"{order_id} stands in the table as the record at {winner}, and differs"
        assert winner == min(where for where in records if where[0] == winner[0]), f"{order_id}: not the earliest"
        for where, order in records.items():
            if order != row:
                quarantine[where] = values[where]
            elif where != winner:
                duplicates += 1
    kept = select(settings, "SELECT kafka_partition, kafka_offset, record_value FROM orders_quarantine")
    found = {(partition, offset): value for partition, offset, value in kept}
    assert len(found) == len(kept), "a record is in the quarantine twice"
    assert found == quarantine, f"the quarantine differs at {sorted(set(found) ^ set(quarantine))[:10]}"
    counted = Count(len(values), len(good), duplicates, len(quarantine))
    totals = select(settings, "SELECT SUM(`stored`), SUM(duplicates), SUM(quarantined) FROM orders_ledger")
    assert tuple(map(int, totals[0])) == counted[1:], f"the ledger says {totals[0]}, the count {counted}"
    _check_rollup(settings, [row for _, row in table.values()])
    return counted


def _records(settings: Settings) -> Iterator[tuple[Where, bytes | None]]:
    """Return every committed record."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": "count",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    topic = settings.kafka_topic
    unread = set(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
    while unread:
        for message in consumer.consume(10_000, timeout=0.5):
            partition, offset, error = message.partition(), message.offset(), message.error()
            assert partition is not None and offset is not None
            if error is None:
                yield (partition, offset), message.value()  # type: ignore[misc]
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                unread.discard(partition)
    consumer.close()


def _table(settings: Settings) -> dict[str, tuple[Where, ReferenceOrder]]:
    rows = select(
        settings,
        "SELECT kafka_partition, kafka_offset, customer_id, order_id, product_name, product_category, unit_price,"
        " quantity, total_price, DATE_FORMAT(order_timestamp, '%Y-%m-%dT%H:%i:%s') FROM orders",
    )
    table: dict[str, tuple[Where, ReferenceOrder]] = {}
    for partition, offset, customer, order_id, name, category, unit, quantity, total, time in rows:
        row = ReferenceOrder(customer, order_id, name, category, _cents(unit), quantity, _cents(total), time)
        table[order_id] = (partition, offset), row
    assert len(table) == len(rows), "an order is stored twice"
    return table


def _cents(amount: Decimal) -> int:
    return int(amount * 100)


def _check_rollup(settings: Settings, rows: list[ReferenceOrder]) -> None:
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row.order_timestamp[:16]] += row.total_cents
    found = select(
        settings,
        "SELECT DATE_FORMAT(minute, '%Y-%m-%dT%H:%i'), SUM(revenue) FROM orders_by_minute GROUP BY 1",
    )
    assert {minute: _cents(revenue) for minute, revenue in found} == dict(sums), "the rollup differs"
