"""The audit of records that an operator replayed, corrected, discarded or accepted as lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import TopicPartition

from orderflow import audit, topic
from orderflow.settings import Settings
from orderflow.store import ledger, quarantine, schema
from orderflow.store.connection import Connection
from orderflow.store.replay import Replayer, ReplayOutcome
from tests.support.audited import NO_FINDINGS, counts, created_once, restore
from tests.support.processes import run
from tests.support.records import delete_before, lose, order, send, store
from tests.support.sql import execute, select


def fill_resolved(settings: Settings) -> None:
    """Partition 0: three replayed (one of them a duplicate), one corrected, one discarded, one open. Partition 1: three
    lost, one stored."""
    send(settings, [order(1), order(2), order(1), b"{", None, order(3)])
    store(msgspec.structs.replace(settings, order_ranges="enforce"))
    with Connection(settings) as connection:
        entries = list(quarantine.read_matching(connection, quarantine.QuarantineFilter()))
        for entry in entries[:3]:
            assert Replayer(connection).replay(entry, by="ann@desk").outcome.is_in_table
        assert Replayer(connection).replay(entries[3], by="ann@desk", corrected=order(7)).outcome.is_in_table
        assert quarantine.discard(connection, [entries[4].quarantine_id], by="ann@desk", because="a test") == 1
    lose(settings, 1, 3)
    with Connection(settings) as connection:
        info = topic.describe(settings)
        assert len(ledger.accept_losses(connection, info.name, info.topic_id, {1: 3}, "ann@desk")) == 1
    send(settings, [order(8)], partition=1)
    store(settings)


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def resolved(request: pytest.FixtureRequest, kafka: str) -> Iterator[Settings]:
    """Yield the same, filled by `fill_resolved`: replayed, corrected and discarded records, and an accepted loss."""
    yield from created_once(request, kafka, fill_resolved)


CHANGES_OF_RESOLVED_RECORDS: dict[str, tuple[str, dict[str, int]]] = {
    "replayed order changed": (
        "UPDATE orders SET customer_id = 1 WHERE order_id = 'ORDER-000002'",
        {"different": 1},
    ),
    "replayed order deleted": (
        "DELETE FROM orders WHERE order_id = 'ORDER-000002'",
        {"missing": 1, "counters": 1, "rollup": 1},
    ),
    "corrected order deleted": (
        "DELETE FROM orders WHERE order_id = 'ORDER-000007'",
        {"missing": 1, "counters": 1, "rollup": 1},
    ),
    "corrected value changed": (
        "UPDATE orders_quarantine SET corrected_value = REPLACE(corrected_value, 'Mat', 'mat') WHERE kafka_offset = 3",
        {"different": 1},
    ),
    "corrected value removed": (
        "UPDATE orders_quarantine SET corrected_value = NULL WHERE kafka_offset = 3",
        {"missing": 1, "extra": 1, "counters": 1},
    ),
    "corrected value added to an open record": (
        "UPDATE orders_quarantine SET corrected_value = '{' WHERE kafka_offset = 5",
        {"quarantine": 1},
    ),
    "original value of a corrected record changed": (
        "UPDATE orders_quarantine SET record_value = '}' WHERE kafka_offset = 3",
        {"quarantine": 1},
    ),
    "replayed record opened": (
        "UPDATE orders_quarantine SET status = 'open' WHERE kafka_offset = 1",
        {"extra": 1, "quarantine": 1, "counters": 1},
    ),
    "replayed record opened without a trace": (
        "UPDATE orders_quarantine SET status = 'open', resolved_by = NULL, resolved_at = NULL WHERE kafka_offset = 1",
        {"extra": 1, "counters": 1},
    ),
    "replayed duplicate opened without a trace": (
        "UPDATE orders_quarantine SET status = 'open', resolved_by = NULL, resolved_at = NULL WHERE kafka_offset = 2",
        {"counters": 1},
    ),
    "replayed record discarded": (
        "UPDATE orders_quarantine SET status = 'discarded', resolved_because = 'x' WHERE kafka_offset = 1",
        {"extra": 1, "counters": 1},
    ),
    "replayed record deleted": (
        "DELETE FROM orders_quarantine WHERE kafka_offset = 2",
        {"counters": 1},
    ),
    "who replayed removed": (
        "UPDATE orders_quarantine SET resolved_by = NULL WHERE kafka_offset = 1",
        {"quarantine": 1},
    ),
    "open record marked as replayed": (
        "UPDATE orders_quarantine SET status = 'replayed', resolved_by = 'x', resolved_at = NOW()"
        " WHERE kafka_offset = 5",
        {"missing": 1},
    ),
    "discarded record marked as replayed": (
        "UPDATE orders_quarantine SET status = 'replayed', resolved_because = NULL WHERE kafka_offset = 4",
        {"missing": 1},
    ),
    "discarded record opened": (
        "UPDATE orders_quarantine SET status = 'open' WHERE kafka_offset = 4",
        {"quarantine": 1},
    ),
    "open record discarded": (
        "UPDATE orders_quarantine SET status = 'discarded' WHERE kafka_offset = 5",
        {"quarantine": 1},
    ),
    "reason of a discard removed": (
        "UPDATE orders_quarantine SET resolved_because = NULL WHERE kafka_offset = 4",
        {"quarantine": 1},
    ),
    "open record's order stored by hand": (
        "INSERT INTO orders (customer_id, order_id, product_name, product_category, unit_price, quantity, total_price,"
        " order_timestamp, kafka_partition, kafka_offset) VALUES (50003, 'ORDER-000003', 'Yoga Mat',"
        " 'Sports & Outdoors', 45.99, 2, 91.98, '2025-01-15 14:03:45', 0, 5)",
        {"extra": 1, "rollup": 1},
    ),
    "row added by hand with a lost record's coordinates": (
        "INSERT INTO orders (customer_id, order_id, product_name, product_category, unit_price, quantity, total_price,"
        " order_timestamp, kafka_partition, kafka_offset) VALUES (1, 'ORDER-000009', 'x', 'y', 1, 1, 1, '2025-01-01',"
        " 1, 1)",
        {"extra": 1, "rollup": 1},
    ),
    "loss that reaches into what the topic holds": (
        "UPDATE orders_losses SET end_offset = 4",
        {"counters": 2},
    ),
    "loss before the ledger begins": (
        "UPDATE orders_losses SET first_offset = -1",
        {"counters": 2},
    ),
    "losses that overlap": (
        "INSERT INTO orders_losses SELECT topic, topic_id, kafka_partition, 1, 2, accepted_at, 'x' FROM orders_losses",
        {"counters": 2},
    ),
    "loss of a partition that is not in the ledger": (
        "UPDATE orders_losses SET kafka_partition = 9",
        {"counters": 2},
    ),
    "loss of another topic": (
        "UPDATE orders_losses SET topic_id = 'x'",
        {"counters": 1},
    ),
}


@pytest.mark.parametrize("change", CHANGES_OF_RESOLVED_RECORDS)
def test_a_change_of_resolved_records_is_found(resolved: Settings, change: str) -> None:
    statements, expected = CHANGES_OF_RESOLVED_RECORDS[change]
    try:
        execute(resolved, statements)
        report = audit.run(resolved)
    finally:
        restore(resolved)
    assert report.counts == NO_FINDINGS | expected
    assert not report.is_proven


def test_resolved_and_lost_records_are_reported(resolved: Settings, tmp_path: Path) -> None:
    report = audit.run(resolved)
    assert (report.is_proven, report.counts, counts(report)) == (True, NO_FINDINGS, (7, 4, 1, 2))
    assert (report.replayed, report.discarded, report.by_reason) == (4, 1, {"null_value": 1, "outside_ranges": 1})
    assert (report.lost_offsets, report.removed_offsets, report.unprovable) == (3, 0, 0)
    assert report.sentence() == (
        "Proven: 7 records = 4 stored + 1 duplicate + 2 quarantined. Replayed from the quarantine, so stored or"
        " duplicate: 4 records. Discarded, but still quarantined: 1 record. Lost before being read, and accepted: 3"
        " offsets."
    )
    as_text, as_json = run(resolved, "audit", cwd=tmp_path), run(resolved, "audit", "--json", cwd=tmp_path)
    assert as_text.returncode == as_json.returncode == 0
    name = resolved.kafka_topic
    assert f"lost: {name} partition 1 offsets 0 to 2, accepted by ann@desk at 20" in as_text.stdout
    [loss] = json.loads(as_json.stdout)["losses"]
    assert (loss["partition"], loss["first_offset"], loss["end_offset"], loss["accepted_by"]) == (1, 0, 3, "ann@desk")


def test_replayed_records_that_left_the_topic_are_no_longer_provable(settings: Settings) -> None:
    fill_resolved(settings)
    delete_before(settings, TopicPartition(settings.kafka_topic, 0, 6))
    report = audit.run(settings)
    assert (report.is_proven, report.counts, counts(report)) == (True, NO_FINDINGS, (1, 1, 0, 0))
    assert (report.lost_offsets, report.removed_offsets, report.unprovable) == (3, 6, 9)


IN_RANGES = order(6, unit_price=60, total_price=120)


@pytest.mark.parametrize("obstacle", ["ranges", "trigger"])
def test_a_conflict_that_a_replay_finds_with_a_later_record_is_proven(settings: Settings, obstacle: str) -> None:
    """The sink left the first record out and stored its correction. The record is replayed without the obstacle."""
    schema.prepare(settings)
    enforcing = msgspec.structs.replace(settings, order_ranges="enforce") if obstacle == "ranges" else settings
    if obstacle == "trigger":
        signal = "IF NEW.unit_price < 60 THEN SIGNAL SQLSTATE '45000'; END IF"
        execute(settings, f"CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW {signal}")
    send(settings, [order(6), IN_RANGES])
    store(enforcing)
    execute(settings, "DROP TRIGGER IF EXISTS refuse")
    with Connection(settings) as connection:
        [entry] = quarantine.read_matching(connection, quarantine.QuarantineFilter())
        assert Replayer(connection).replay(entry, by="ann@desk").outcome is ReplayOutcome.CONFLICT
        report = audit.run(settings)
        assert (report.is_proven, counts(report), report.by_reason) == (True, (2, 1, 0, 1), {"conflict": 1}), report
        assert Replayer(connection).replay(entry, by="ann@desk", corrected=order(7)).outcome is ReplayOutcome.STORED
    report = audit.run(settings)
    assert (report.is_proven, counts(report)) == (True, (2, 2, 0, 0))
    execute(settings, "UPDATE orders_quarantine SET reason_contract_id = NULL")
    [finding] = audit.run(settings).quarantine
    assert finding.description == "is in the quarantine for conflict with the order of a later record (offset 1)"


def test_a_conflict_that_a_replay_confirms_keeps_its_checks(settings: Settings) -> None:
    send(settings, [order(6), IN_RANGES])
    store(settings)
    before = select(settings, "SELECT * FROM orders_quarantine")
    with Connection(settings) as connection:
        [entry] = quarantine.read_matching(connection, quarantine.QuarantineFilter())
        assert Replayer(connection).replay(entry, by="ann@desk").outcome is ReplayOutcome.CONFLICT
    assert select(settings, "SELECT * FROM orders_quarantine") == before


def test_a_conflict_that_became_a_refused_row_is_found(stored: Settings) -> None:
    """This happens on a server without warnings, where the sink treats conflicts as refusals."""
    send(stored, [order(3, quantity=1, total_price=45.99)])
    store(stored)
    execute(stored, "UPDATE orders_quarantine SET reason = 'refused_by_database' WHERE kafka_offset = 5")
    [finding] = audit.run(stored).quarantine
    assert finding.description == (
        "is in the quarantine for refused_by_database, but its order was stored before: it is a conflict"
    )
