"""An independent count with plain SQL, a plain consumer and the reference decoder. It uses no code of the audit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from decimal import Decimal
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from orderflow.settings import Settings
from tests.support import reference
from tests.support.reference import ReferenceOrder
from tests.support.sql import select

Coordinates = tuple[int, int]  # partition, offset


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
    valid: defaultdict[str, dict[Coordinates, ReferenceOrder]] = defaultdict(dict)
    quarantine: dict[Coordinates, bytes | None] = {}
    values: dict[Coordinates, bytes | None] = {}
    for coordinates, value in _records(settings):
        values[coordinates] = value
        order = reference.read(value)
        if order is None or order.order_id in refused:
            quarantine[coordinates] = value
        else:
            valid[order.order_id][coordinates] = order
    table = _table(settings)
    assert set(table) == set(valid), f"lost or invented: {sorted(set(table) ^ set(valid))[:10]}"
    duplicates = 0
    for order_id, records in valid.items():
        winner, row = table[order_id]
        assert records.get(winner) == row, f"{order_id} is stored as the record at {winner}, and differs from it"
        assert winner == min(coordinates for coordinates in records if coordinates[0] == winner[0]), (
            f"{order_id}: not the earliest"
        )
        for coordinates, order in records.items():
            if order != row:
                quarantine[coordinates] = values[coordinates]
            elif coordinates != winner:
                duplicates += 1
    quarantined_rows = select(settings, "SELECT kafka_partition, kafka_offset, record_value FROM orders_quarantine")
    stored_quarantine = {(partition, offset): value for partition, offset, value in quarantined_rows}
    assert len(stored_quarantine) == len(quarantined_rows), "a record is in the quarantine twice"
    assert stored_quarantine == quarantine, (
        f"the quarantine differs at {sorted(set(stored_quarantine) ^ set(quarantine))[:10]}"
    )
    counted = Count(len(values), len(valid), duplicates, len(quarantine))
    totals = select(settings, "SELECT SUM(`stored`), SUM(duplicates), SUM(quarantined) FROM orders_ledger")
    assert tuple(map(int, totals[0])) == counted[1:], f"the ledger has {totals[0]}, the count {counted}"
    _check_rollup(settings, [row for _, row in table.values()])
    return counted


def _records(settings: Settings) -> Iterator[tuple[Coordinates, bytes | None]]:
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
                yield (partition, offset), message.value()
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                unread.discard(partition)
    consumer.close()


def _table(settings: Settings) -> dict[str, tuple[Coordinates, ReferenceOrder]]:
    rows = select(
        settings,
        "SELECT kafka_partition, kafka_offset, customer_id, order_id, product_name, product_category, unit_price,"
        " quantity, total_price, DATE_FORMAT(order_timestamp, '%Y-%m-%dT%H:%i:%s') FROM orders",
    )
    table: dict[str, tuple[Coordinates, ReferenceOrder]] = {}
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
    totals = select(
        settings,
        "SELECT DATE_FORMAT(minute, '%Y-%m-%dT%H:%i'), SUM(revenue) FROM orders_by_minute GROUP BY 1",
    )
    assert {minute: _cents(revenue) for minute, revenue in totals} == dict(sums), "the rollup differs"
