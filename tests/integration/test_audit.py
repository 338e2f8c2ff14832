"""The audit finds every kind of difference, and reports none if nothing differs."""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from orderflow import audit, topic
from orderflow.contract import definition
from orderflow.errors import DatabaseRefused, OffsetsLost, TopicMissing, TopicRecreated, TopicUnusable
from orderflow.settings import Settings
from orderflow.spark import open_ledger
from orderflow.store import ledger, quarantine, schema, snapshot
from orderflow.store.connection import Connection
from orderflow.store.record_batch import RecordBatch
from orderflow.store.replay import Result, replay
from orderflow.store.writer import Writer
from orderflow.topic_source import TopicSource
from tests.audited import COLUMNS, NO_FINDINGS, counts, created_once, fill, restore
from tests.processes import run
from tests.records import configure_topic, delete_before, delete_topic, lose, order, send, store, writer
from tests.sql import execute, select


def fill_resolved(settings: Settings) -> None:
    """Partition 0: three replayed (one of them a duplicate), one corrected, one discarded, one open. Partition 1: three
    lost, one stored."""
    send(settings, [order(1), order(2), order(1), b"{", None, order(3)])
    store(msgspec.structs.replace(settings, order_ranges="enforce"))
    with Connection(settings) as connection:
        entries = list(quarantine.matching(connection, quarantine.Filter()))
        for entry in entries[:3]:
            assert replay(connection, settings, entry, by="ann@desk").result.good
        assert replay(connection, settings, entries[3], by="ann@desk", corrected=order(7)).result.good
        assert quarantine.discard(connection, [entries[4].quarantine_id], by="ann@desk", because="a test") == 1
    lose(settings, 1, 3)
    with Connection(settings) as connection:
        info = topic.describe(settings)
        assert len(ledger.accept_losses(connection, info.name, info.topic_id, {1: 3}, "ann@desk")) == 1
    send(settings, [order(8)], partition=1)
    store(settings)


@pytest.fixture
def stored(settings: Settings) -> Settings:
    fill(settings)
    return settings


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def template(request: pytest.FixtureRequest, kafka: str) -> Iterator[Settings]:
    """Yield settings of a database filled by `fill`, created once for many tests, with a copy of each table."""
    yield from created_once(request, kafka, fill)


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def resolved(request: pytest.FixtureRequest, kafka: str) -> Iterator[Settings]:
    """Yield the same, filled by `fill_resolved`: replayed, corrected and discarded records, and an accepted loss."""
    yield from created_once(request, kafka, fill_resolved)


def test_all_kinds_of_records_are_accounted_for(stored: Settings) -> None:
    send(stored, [order(2), order(6, note="unknown field")], partition=2)  # a duplicate across partitions
    store(stored)
    report = audit.run(stored)
    assert (report.proven, report.counts) == (True, NO_FINDINGS)
    assert counts(report) == (11, 6, 2, 3)
    assert report.by_reason == {"malformed_json": 1, "conflict": 1, "null_value": 1}
    assert report.not_yet_stored == 0
    assert report.sentence() == "Proven: 11 records = 6 stored + 2 duplicates + 3 quarantined."


def test_records_that_are_not_stored_yet_are_lag(stored: Settings) -> None:
    send(stored, [order(7)])
    report = audit.run(stored)
    assert (report.proven, report.records, report.not_yet_stored) == (True, 9, 1)


CHANGES: dict[str, tuple[str, dict[str, int]]] = {
    "row deleted": (
        "DELETE FROM orders WHERE order_id = 'ORDER-000002'",
        {"missing": 1, "counters": 1, "rollup": 1},
    ),
    "price changed by a cent": (
        "UPDATE orders SET unit_price = unit_price + 0.01 WHERE order_id = 'ORDER-000002'",
        {"different": 1},
    ),
    "customer_id changed": (
        "UPDATE orders SET customer_id = 1 WHERE order_id = 'ORDER-000002'",
        {"different": 1},
    ),
    "order_id changed": (
        "UPDATE orders SET order_id = 'ORDER-999999' WHERE order_id = 'ORDER-000002'",
        {"missing": 1, "extra": 1, "counters": 1},
    ),
    "order_id changed in case only": (
        "UPDATE orders SET order_id = 'order-000002' WHERE order_id = 'ORDER-000002'",
        {"missing": 1, "extra": 1, "counters": 1},
    ),
    "product_name changed": (
        "UPDATE orders SET product_name = 'Yoga mat' WHERE order_id = 'ORDER-000002'",
        {"different": 1},
    ),
    "product_category changed": (
        "UPDATE orders SET product_category = 'Sports & Outdoors ' WHERE order_id = 'ORDER-000002'",
        {"different": 1},
    ),
    "quantity changed": (
        "UPDATE orders SET quantity = 3 WHERE order_id = 'ORDER-000002'",
        {"different": 1, "rollup": 1},
    ),
    "total_price changed by a cent": (
        "UPDATE orders SET total_price = total_price + 0.01 WHERE order_id = 'ORDER-000002'",
        {"different": 1, "rollup": 1},
    ),
    "order_timestamp changed by a second": (
        "UPDATE orders SET order_timestamp = order_timestamp + INTERVAL 1 SECOND WHERE order_id = 'ORDER-000002'",
        {"different": 1},
    ),
    "order_timestamp changed by a minute": (
        "UPDATE orders SET order_timestamp = order_timestamp + INTERVAL 1 MINUTE WHERE order_id = 'ORDER-000002'",
        {"different": 1, "rollup": 2},
    ),
    "row added by hand": (
        "INSERT INTO orders VALUES (1, 'ORDER-999999', 'x', 'y', 1, 1, 1, '2025-01-01')",
        {"extra": 1, "rollup": 1},
    ),
    "row added by hand with half of the coordinates": (
        "INSERT INTO orders (customer_id, order_id, product_name, product_category, unit_price, quantity, total_price,"
        " order_timestamp, kafka_partition) VALUES (1, 'ORDER-999999', 'x', 'y', 1, 1, 1, '2025-01-01', 0)",
        {"extra": 1, "rollup": 1},
    ),
    "row added by hand with another record's coordinates": (
        "INSERT INTO orders (customer_id, order_id, product_name, product_category, unit_price, quantity, total_price,"
        " order_timestamp, kafka_partition, kafka_offset) VALUES (1, '', 'x', 'y', 1, 1, 1, '2025-01-01', 0, 0)",
        {"extra": 1, "rollup": 1},
    ),
    "row added by hand with a duplicate's coordinates": (
        "INSERT INTO orders (customer_id, order_id, product_name, product_category, unit_price, quantity, total_price,"
        " order_timestamp, kafka_partition, kafka_offset) VALUES (1, '', 'x', 'y', 1, 1, 1, '2025-01-01', 0, 4)",
        {"extra": 1, "rollup": 1},
    ),
    "row added by hand with coordinates beyond the ledger's": (
        "INSERT INTO orders (customer_id, order_id, product_name, product_category, unit_price, quantity, total_price,"
        " order_timestamp, kafka_partition, kafka_offset) VALUES (1, '', 'x', 'y', 1, 1, 1, '2025-01-01', 0, 99)",
        {"extra": 1, "rollup": 1},
    ),
    "row added by hand with a quarantined record's coordinates": (
        "INSERT INTO orders (customer_id, order_id, product_name, product_category, unit_price, quantity, total_price,"
        " order_timestamp, kafka_partition, kafka_offset) VALUES (1, '', 'x', 'y', 1, 1, 1, '2025-01-01', 0, 3)",
        {"extra": 1, "rollup": 1},
    ),
    "row added by hand as if it had existed before": (
        "INSERT INTO orders (customer_id, order_id, product_name, product_category, unit_price, quantity, total_price,"
        " order_timestamp, kafka_partition) VALUES (1, '', 'x', 'y', 1, 1, 1, '2025-01-01', -1)",
        {"adoption": 1, "rollup": 1},
    ),
    "row deleted and added again by hand": (
        "DELETE FROM orders WHERE order_id = 'ORDER-000002';"
        "INSERT INTO orders VALUES (50002, 'ORDER-000002', 'Yoga Mat', 'Sports & Outdoors', 45.99, 2, 91.98,"
        " '2025-01-15 14:02:45')",
        {"extra": 1, "counters": 2, "rollup": 2},
    ),
    "row with another offset": (
        "UPDATE orders SET kafka_offset = 0 WHERE order_id = 'ORDER-000002'",
        {"extra": 1, "counters": 2},
    ),
    "coordinates of two rows swapped": (
        "UPDATE orders SET kafka_offset = 3 - kafka_offset WHERE order_id IN ('ORDER-000002', 'ORDER-000003')",
        {"extra": 2, "different": 1, "counters": 2},
    ),
    "fields of two rows swapped": (
        "UPDATE orders SET customer_id = 100005 - customer_id WHERE order_id IN ('ORDER-000002', 'ORDER-000003')",
        {"different": 2},
    ),
    "ids of two rows swapped": (
        "UPDATE orders SET order_id = 'ORDER-999999' WHERE order_id = 'ORDER-000002';"
        "UPDATE orders SET order_id = 'ORDER-000002' WHERE order_id = 'ORDER-000003';"
        "UPDATE orders SET order_id = 'ORDER-000003' WHERE order_id = 'ORDER-999999'",
        {"different": 2, "extra": 2, "counters": 1},
    ),
    "quarantine row deleted": (
        "DELETE FROM orders_quarantine WHERE reason = 'malformed_json'",
        {"missing": 1, "counters": 1},
    ),
    "conflict deleted": (
        "DELETE FROM orders_quarantine WHERE reason = 'conflict'",
        {"different": 1, "counters": 1},
    ),
    "quarantined value changed": (
        "UPDATE orders_quarantine SET record_value = '}' WHERE reason = 'malformed_json'",
        {"quarantine": 1},
    ),
    "quarantined null value emptied": (
        "UPDATE orders_quarantine SET record_value = '' WHERE reason = 'null_value'",
        {"quarantine": 1},
    ),
    "quarantined key changed": (
        "UPDATE orders_quarantine SET record_key = 'Key' WHERE reason = 'malformed_json'",
        {"quarantine": 1},
    ),
    "quarantine row moved to a stored record": (
        "UPDATE orders_quarantine SET kafka_offset = 0 WHERE reason = 'malformed_json'",
        {"quarantine": 1, "missing": 1, "extra": 1, "counters": 1},
    ),
    "quarantine row moved beyond the ledger's position": (
        "UPDATE orders_quarantine SET kafka_offset = 99 WHERE reason = 'malformed_json'",
        {"quarantine": 1, "missing": 1, "counters": 1},
    ),
    "quarantine row moved to another topic": (
        "UPDATE orders_quarantine SET topic_id = 'x' WHERE reason = 'malformed_json'",
        {"quarantine": 1, "missing": 1, "counters": 1},
    ),
    "order moved to the quarantine": (
        "INSERT INTO orders_quarantine (topic, topic_id, kafka_partition, kafka_offset, quarantined_at, reason, detail)"
        " SELECT topic, topic_id, 0, 1, quarantined_at, 'null_value', '' FROM orders_quarantine WHERE kafka_offset = 3"
        " AND kafka_partition = 0; DELETE FROM orders WHERE order_id = 'ORDER-000002'",
        {"quarantine": 1, "counters": 2, "rollup": 1},
    ),
    "stored counter changed": (
        "UPDATE orders_ledger SET `stored` = `stored` + 1 WHERE kafka_partition = 1",
        {"counters": 1},
    ),
    "duplicates counter changed": (
        "UPDATE orders_ledger SET duplicates = duplicates + 1 WHERE kafka_partition = 1",
        {"counters": 1},
    ),
    "quarantined counter changed": (
        "UPDATE orders_ledger SET quarantined = quarantined - 1 WHERE kafka_partition = 1",
        {"counters": 1},
    ),
    "ledger row deleted": (
        "DELETE FROM orders_ledger WHERE kafka_partition = 1",
        {"extra": 2, "quarantine": 2},
    ),
    "ledger row added": (
        "INSERT INTO orders_ledger (topic, kafka_partition, topic_id, first_offset, next_offset, `stored`, updated_at)"
        " SELECT topic, 9, topic_id, 0, 0, 1, updated_at FROM orders_ledger WHERE kafka_partition = 0",
        {"counters": 2},
    ),
    "first_offset of an empty partition raised": (
        "UPDATE orders_ledger SET first_offset = 5 WHERE kafka_partition = 2",
        {"counters": 1},
    ),
    "first_offset below 0": (
        "UPDATE orders_ledger SET first_offset = -1 WHERE kafka_partition = 2",
        {"counters": 1},
    ),
    "ledger set back": (
        "UPDATE orders_ledger SET next_offset = 4 WHERE kafka_partition = 0",
        {"counters": 2},
    ),
    "rollup changed by a cent": (
        "UPDATE orders_by_minute SET revenue = revenue + 0.01 WHERE minute = '2025-01-15 14:02:00'",
        {"rollup": 1},
    ),
    "rollup row deleted": (
        "DELETE FROM orders_by_minute WHERE minute = '2025-01-15 14:02:00'",
        {"rollup": 1},
    ),
    "rollup row moved to another minute": (
        "UPDATE orders_by_minute SET minute = minute + INTERVAL 1 HOUR WHERE minute = '2025-01-15 14:02:00'",
        {"rollup": 2},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found(template: Settings, change: str) -> None:
    statements, expected = CHANGES[change]
    try:
        for statement in statements.split(";"):
            execute(template, statement)
        report = audit.run(template)
    finally:
        restore(template)
    assert report.counts == NO_FINDINGS | expected
    assert not report.proven
    assert report.sentence().startswith("Not proven: ")
    assert {kind: len(report.listed(kind)) for kind in report.counts} == report.counts


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
    assert not report.proven


def test_resolved_and_lost_records_are_reported(resolved: Settings, tmp_path: Path) -> None:
    report = audit.run(resolved)
    assert (report.proven, report.counts, counts(report)) == (True, NO_FINDINGS, (7, 4, 1, 2))
    assert (report.replayed, report.discarded, report.by_reason) == (4, 1, {"null_value": 1, "outside_ranges": 1})
    assert (report.lost_offsets, report.unreadable_offsets, report.unprovable) == (3, 0, 0)
    assert report.sentence() == (
        "Proven: 7 records = 4 stored + 1 duplicates + 2 quarantined. 4 of the stored and duplicates were replayed from"
        " the quarantine; 1 of the quarantined are discarded. 3 offsets were lost before they were read; the loss was"
        " accepted."
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
    assert (report.proven, report.counts, counts(report)) == (True, NO_FINDINGS, (1, 1, 0, 0))
    assert (report.lost_offsets, report.unreadable_offsets, report.unprovable) == (3, 6, 9)


def test_a_record_in_chunks_is_compared_whole(settings: Settings) -> None:
    topic.get_or_create(settings)
    schema.prepare(settings)
    [(before,)] = select(settings, "SELECT @@GLOBAL.max_allowed_packet")
    execute(settings, "SET GLOBAL max_allowed_packet = 1048576")
    try:
        send(settings, [b"'" * 900_000, order(1)])
        store(settings)
        report = audit.run(settings)
        assert (report.proven, counts(report)) == (True, (2, 1, 0, 1))
        execute(settings, "UPDATE orders_quarantine_chunks SET bytes = REPLACE(bytes, 'x', '') WHERE chunk_index > 0")
        assert audit.run(settings).proven
        execute(settings, "DELETE FROM orders_quarantine_chunks WHERE chunk_index = 1")
        assert audit.run(settings).counts == NO_FINDINGS | {"quarantine": 2}
    finally:
        execute(settings, f"SET GLOBAL max_allowed_packet = {before}")


def test_an_unchanged_table_is_proven(template: Settings) -> None:
    report = audit.run(template)
    assert (report.proven, report.counts, counts(report)) == (True, NO_FINDINGS, (9, 5, 1, 3))


def test_a_finding_names_record_order_and_values(template: Settings) -> None:
    execute(template, "UPDATE orders SET unit_price = 46.00, product_name = 'x' WHERE order_id = 'ORDER-000002'")
    report = audit.run(template)
    restore(template)
    assert report.summary()["different"] == [
        {
            "what": "is stored with another product_name, unit_price",
            "topic": template.kafka_topic,
            "partition": 0,
            "offset": 1,
            "order_id": "ORDER-000002",
            "fields": {
                "product_name": {"record": "Yoga Mat", "table": "x"},
                "unit_price": {"record": "45.99", "table": "46.00"},
            },
        }
    ]


def test_findings_beyond_the_limit_are_counted(template: Settings) -> None:
    rows = ", ".join(f"(1, 'ORDER-9{number:06d}', 'x', 'y', 1, 1, 1, '2025-01-01')" for number in range(205))
    execute(template, f"INSERT INTO orders VALUES {rows}")
    report = audit.run(template)
    restore(template)
    assert (report.counts["extra"], len(report.extra)) == (205, 100)


def test_the_exit_code_reports_the_result(template: Settings, tmp_path: Path) -> None:
    proven = run(template, "audit", cwd=tmp_path)
    assert (proven.returncode, proven.stdout.splitlines()[-1]) == (
        0,
        "Proven: 9 records = 5 stored + 1 duplicates + 3 quarantined.",
    )
    hostile = "'ORDER-\x1b]0;x\x07', '\x1b[31mred\u202e'"
    execute(template, f"INSERT INTO orders VALUES (1, {hostile}, 'y', 1, 1, 1, '2025-01-01')")
    differing, as_json = (run(template, "audit", *options, cwd=tmp_path) for options in ([], ["--json"]))
    restore(template)
    assert differing.returncode == as_json.returncode == 1
    assert differing.stdout.replace("\n", "").isprintable() and "\\x1b]0;x" in differing.stdout
    shown = json.loads(as_json.stdout)
    assert (shown["proven"], shown["records"], shown["counts"]["extra"]) == (False, 9, 1)
    assert shown["extra"][0]["order_id"] == "ORDER-\x1b]0;x\x07"
    elsewhere = msgspec.structs.replace(template, mysql_table="nowhere")
    assert run(elsewhere, "audit", cwd=tmp_path).returncode == 2


# Cases without a difference.


def test_aborted_transactions_are_no_records(settings: Settings) -> None:
    topic.get_or_create(settings)
    producer = Producer(topic.client_config(settings) | {"transactional.id": settings.kafka_topic})
    producer.init_transactions(30)
    for number, ends in enumerate((producer.abort_transaction, producer.commit_transaction) * 3):
        producer.begin_transaction()
        producer.produce(settings.kafka_topic, value=order(number), partition=0)
        ends(30)
    store(settings)
    report = audit.run(settings)
    assert (report.proven, counts(report)) == (True, (3, 3, 0, 0))


def test_rows_from_before_the_first_start_are_adopted(settings: Settings) -> None:
    with Connection(settings, database=False) as connection:
        connection.execute("create_database")
    columns = ", ".join(f"{name} {sql}" for name, sql in COLUMNS.items())
    execute(settings, f"CREATE TABLE orders ({columns}, PRIMARY KEY (order_id))")
    for number in (1, 2, 3):
        execute(
            settings,
            f"INSERT INTO orders VALUES ({50_000 + number}, 'ORDER-{number:06d}', 'Yoga Mat', 'Sports & Outdoors',"
            f" 45.99, 2, 91.98, '2025-01-15 14:{number:02d}:45')",
        )
    send(settings, [order(1), order(2, customer_id=1), order(4)])
    store(settings)
    report = audit.run(settings)
    assert (report.proven, counts(report)) == (True, (3, 1, 1, 1))
    assert (report.adopted, report.by_reason) == (3, {"conflict": 1})
    assert report.sentence().endswith(" 3 rows were adopted with the table: no record accounts for them.")
    for forged in (
        f"INSERT INTO orders ({', '.join(definition.EIGHT)}, kafka_partition)"
        " VALUES (1, 'ORDER-000666', 'x', 'y', 1, 1, 1, '2025-01-15 14:00:00', -1)",
        "UPDATE orders SET unit_price = 46.00 WHERE order_id = 'ORDER-000003'",
    ):
        execute(settings, forged)
        assert audit.run(settings).counts["adoption"] == 1
        # After an operator archives or corrects adopted rows, the rows are counted again like this.
        execute(settings, "DROP TABLE orders_adoption")
        assert audit.run(settings).counts["tables"] == 1
        schema.prepare(settings)
        assert audit.run(settings).counts["adoption"] == 0


def test_tables_of_an_earlier_version_are_audited_after_an_upgrade(settings: Settings) -> None:
    """Its partitions lack sums of losses and times. The audit reports this, and checks everything else."""
    fill(settings)
    execute(settings, "DROP TABLE orders_adoption")
    execute(settings, "ALTER TABLE orders_ledger DROP COLUMN lost, DROP COLUMN times_rows, DROP COLUMN times_sum")
    execute(settings, "DELETE FROM orders_schema")
    statements = [step.statement for step in schema.prepare(settings)]
    assert statements == ["0002_extend_ledger", "insert_schema_version", "insert_schema_version", "create_adoption"]
    send(settings, [order(6)], partition=2)
    store(settings)
    report = audit.run(settings)
    assert (report.proven, report.partitions_unchecked, counts(report)) == (True, 3, (10, 6, 1, 3))
    assert report.sentence().endswith(
        " An earlier version of OrderFlow wrote to 3 partitions: their losses, stored_at and quarantined_at are not"
        " checked."
    )
    execute(settings, "UPDATE orders SET produced_at = produced_at + INTERVAL 1 SECOND")
    assert audit.run(settings).counts["different"] == 6


def test_offsets_before_the_ledger_are_reported(settings: Settings) -> None:
    """Records deleted from the topic before OrderFlow's first start are not a loss, and are not accounted for."""
    lose(settings, 0, 3)
    send(settings, [order(1), order(2)])
    store(settings)
    report = audit.run(settings)
    assert (report.proven, report.before_ledger, counts(report)) == (True, 3, (2, 2, 0, 0))
    assert report.sentence().endswith(" 3 offsets are before the ledger's first offsets and are not accounted for.")
    execute(settings, "UPDATE orders_ledger SET first_offset = 4, `stored` = 1 WHERE kafka_partition = 0")
    execute(settings, "DELETE FROM orders WHERE order_id = 'ORDER-000001'")
    report = audit.run(settings)
    assert not report.proven
    assert "the topic holds records of offsets 3 to 3, before the ledger's first_offset" in {
        finding.what for finding in report.counters
    }


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
        [entry] = quarantine.matching(connection, quarantine.Filter())
        assert replay(connection, settings, entry, by="ann@desk").result is Result.CONFLICT
        report = audit.run(settings)
        assert (report.proven, counts(report), report.by_reason) == (True, (2, 1, 0, 1), {"conflict": 1}), report
        assert replay(connection, settings, entry, by="ann@desk", corrected=order(7)).result is Result.STORED
    report = audit.run(settings)
    assert (report.proven, counts(report)) == (True, (2, 2, 0, 0))
    execute(settings, "UPDATE orders_quarantine SET reason_contract_id = NULL")
    [finding] = audit.run(settings).quarantine
    assert finding.what == "is in the quarantine for conflict with the order of a later record (offset 1)"


def test_a_conflict_that_a_replay_confirms_keeps_its_checks(settings: Settings) -> None:
    send(settings, [order(6), IN_RANGES])
    store(settings)
    before = select(settings, "SELECT * FROM orders_quarantine")
    with Connection(settings) as connection:
        [entry] = quarantine.matching(connection, quarantine.Filter())
        assert replay(connection, settings, entry, by="ann@desk").result is Result.CONFLICT
    assert select(settings, "SELECT * FROM orders_quarantine") == before


def test_a_conflict_that_became_a_refused_row_is_found(stored: Settings) -> None:
    """This happens on a server without warnings, where the sink treats conflicts as refusals."""
    send(stored, [order(3, quantity=1, total_price=45.99)])
    store(stored)
    execute(stored, "UPDATE orders_quarantine SET reason = 'refused_by_database' WHERE kafka_offset = 5")
    [finding] = audit.run(stored).quarantine
    assert finding.what == (
        "is in the quarantine for refused_by_database, but its order was stored before: it is a conflict"
    )


def test_several_topics_may_fill_one_table(settings: Settings) -> None:
    """The second topic is a mirror of the first with one more record, so its records have the same coordinates."""
    mirror = msgspec.structs.replace(settings, kafka_topic=f"{settings.kafka_topic}-mirror")
    values = [order(1), order(2), b"{"]
    for number, current in enumerate((mirror, settings)):  # not in alphabetical order
        send(current, [*values, order(7 + number)])
        store(current)
    try:
        for current in (settings, mirror):
            report = audit.run(current)
            assert (report.proven, report.counts, counts(report)) == (True, NO_FINDINGS, (8, 4, 2, 2))
        execute(settings, "DELETE FROM orders WHERE order_id = 'ORDER-000002'")
        assert audit.run(settings).counts == NO_FINDINGS | {"missing": 2, "counters": 2, "rollup": 1}
    finally:
        delete_topic(mirror)


def test_a_deleted_former_topic_cannot_be_read_again(stored: Settings) -> None:
    later = msgspec.structs.replace(stored, kafka_topic=f"{stored.kafka_topic}-2")
    send(later, [order(1), order(9)], partition=2)
    store(later)
    try:
        assert audit.run(later).records == 11
        delete_topic(stored)
        report = audit.run(later)
        assert (report.proven, counts(report)) == (True, (2, 1, 1, 0))
        assert (report.unreadable_offsets, report.unprovable) == (9, 8)
        with pytest.raises(TopicMissing):
            audit.run(stored)
        send(stored, [order(1)])
        with pytest.raises(TopicRecreated):
            audit.run(stored)
        assert audit.run(later).unreadable_offsets == 9
    finally:
        delete_topic(later)


def test_records_removed_by_retention_are_no_longer_provable(stored: Settings) -> None:
    admin = AdminClient(topic.client_config(stored))
    coordinates = TopicPartition(stored.kafka_topic, 0, 2)  # orders 1 and 2; the duplicate of order 1 remains
    admin.delete_records([coordinates])[coordinates].result()
    report = audit.run(stored)
    assert (report.proven, report.counts, counts(report)) == (True, NO_FINDINGS, (7, 3, 1, 3))
    assert (report.unreadable_offsets, report.unprovable) == (2, 2)
    assert "2 older offsets are gone from the topic" in report.sentence()
    coordinates = TopicPartition(stored.kafka_topic, 1, 4)  # includes a conflict and a malformed record
    admin.delete_records([coordinates])[coordinates].result()
    report = audit.run(stored)
    assert (report.proven, report.counts, counts(report)) == (True, NO_FINDINGS, (3, 1, 1, 1))
    assert (report.unreadable_offsets, report.unprovable) == (6, 6)
    execute(stored, "DELETE FROM orders WHERE order_id = 'ORDER-000002'")  # detected, but the order is unknown
    assert audit.run(stored).counts == NO_FINDINGS | {"counters": 1, "rollup": 1}


@pytest.mark.parametrize("first", [3, 9])  # 9: all of the partition's records
def test_what_retention_removes_meanwhile_is_no_longer_provable(stored: Settings, first: int) -> None:
    """The bounds are read once, and the partitions one after another."""
    send(stored, [order(10 + number) for number in range(5)], partition=1)
    store(stored)
    removed: list[int] = []

    def remove(done: int, total: int) -> None:
        if not removed:
            assert (done, total) == (5, 14)
            removed.append(first)
            delete_before(stored, TopicPartition(stored.kafka_topic, 1, first))

    report = audit.run(stored, remove)
    assert removed and (report.proven, report.counts) == (True, NO_FINDINGS)
    assert (report.records, report.unreadable_offsets) == (14 - first, first)
    assert f" {first} older offsets are gone from the topic" in report.sentence()
    again = audit.run(stored)
    assert (counts(again), again.sentence()) == (counts(report), report.sentence())


def test_a_compacted_topic_is_a_finding(stored: Settings, tmp_path: Path) -> None:
    """Between two reads, compaction removes records whose absence nothing shows."""
    configure_topic(stored, "cleanup.policy", "compact,delete")
    assert audit.run(stored).counts == NO_FINDINGS | {"topics": 1}
    found = run(stored, "audit", cwd=tmp_path)
    assert found.returncode == 1
    assert f"topics: Topic {stored.kafka_topic} has cleanup.policy=compact,delete: Kafka removes" in found.stdout
    assert "So it cannot be proven that every order was stored." in found.stdout
    for arguments in (["sink", "--once", "--engine", "direct"], ["init"]):
        refused = run(stored, *arguments, cwd=tmp_path)
        assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
        assert "has cleanup.policy=compact,delete" in refused.stderr
        assert f"--topic {stored.kafka_topic} --add-config cleanup.policy=delete" in refused.stderr
    with pytest.raises(TopicUnusable):
        open_ledger(stored)
    configure_topic(stored, "cleanup.policy", "delete")
    assert run(stored, "sink", "--once", "--engine", "direct", cwd=tmp_path).returncode == 0
    assert audit.run(stored).proven


def test_a_cleanup_policy_that_may_not_be_read_is_reported(stored: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "_config", lambda *_: None)
    report = audit.run(stored)
    assert (report.proven, report.policies_unknown) == (True, [stored.kafka_topic])
    assert report.sentence().endswith(
        f" The cleanup.policy of topic {stored.kafka_topic} may not be read: if it is compact, records may be missing."
    )


def test_a_topic_that_lost_its_end_cannot_be_checked(stored: Settings) -> None:
    execute(stored, "UPDATE orders_ledger SET next_offset = 9 WHERE kafka_partition = 0")
    with pytest.raises(OffsetsLost, match="ends at offset 5, but the ledger accounts for its records up to 9"):
        audit.run(stored)


def test_stored_orders_remain_proven_when_ranges_are_enforced_later(stored: Settings) -> None:
    enforcing = msgspec.structs.replace(stored, order_ranges="enforce")
    send(enforcing, [order(6, customer_id=1)])
    store(enforcing)
    for current in (enforcing, stored):
        report = audit.run(current)
        assert (report.proven, report.by_reason["outside_ranges"]) == (True, 1)


def test_records_stored_during_an_audit_are_left_out(stored: Settings) -> None:
    with writer(stored) as store_new:

        def store_more(done: int, total: int) -> None:
            for partition in (0, 1, 2):
                send(stored, [order(1000 + 10 * done + partition), b"?", order(3)], partition)
            assert store_new() == 9

        report = audit.run(stored, store_more)
        assert (report.proven, counts(report)) == (True, (9, 5, 1, 3))
    report = audit.run(stored)
    assert (report.proven, report.records > 18) == (True, True)


def test_an_audit_at_any_moment_of_a_load_is_proven(settings: Settings) -> None:
    values = [order(number) if number % 10 else b"?" for number in range(3000)]
    for partition in (0, 1, 2):
        send(settings, values[partition::3] + values[:200], partition)
    stop = threading.Event()

    def store_slowly() -> None:
        for start in range(0, 1200, 10):
            for partition in (0, 1, 2):
                records = list(itertools.islice(topic.read(settings, partition, start, start + 10), 10))
                _, offsets, timestamps, keys, batch_values = zip(*records, strict=True)
                writing.commit(RecordBatch([partition] * len(offsets), offsets, timestamps, keys, batch_values))
                if stop.is_set():
                    return

    info = topic.get_or_create(settings)
    schema.prepare(settings)
    with Writer(settings, TopicSource(settings, info.topic_id)) as writing, ThreadPoolExecutor(1) as pool:
        loading = pool.submit(store_slowly)
        reports = [audit.run(settings) for _ in range(5)]
        stop.set()
        loading.result()
    assert [report.counts for report in reports] == [NO_FINDINGS] * 5
    assert reports[0].records < reports[-1].records


def test_an_audit_without_tables_is_refused(settings: Settings) -> None:
    topic.get_or_create(settings)
    with pytest.raises(DatabaseRefused):
        audit.run(settings)


def test_a_user_who_may_only_read_can_audit(stored: Settings) -> None:
    name = f"reader_{uuid.uuid4().hex[:12]}"
    execute(stored, f"CREATE USER {name}@'%' IDENTIFIED BY 'secret'")
    execute(stored, f"GRANT SELECT ON {stored.mysql_database}.* TO {name}@'%'")
    try:
        reader = msgspec.structs.replace(stored, mysql_user=name, mysql_password="secret")
        assert audit.run(reader).proven
        execute(stored, f"REVOKE SELECT ON {stored.mysql_database}.* FROM {name}@'%'")
        tables = select(stored, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
        for (table,) in tables:
            execute(stored, f"GRANT SELECT ON {stored.mysql_database}.{table} TO {name}@'%'")
        assert audit.run(reader).proven
        for table in ("orders_adoption", "orders_per_day"):
            execute(stored, f"REVOKE SELECT ON {stored.mysql_database}.{table} FROM {name}@'%'")
            with pytest.raises(DatabaseRefused, match=f"refuses user {name}"):
                audit.run(reader)
            execute(stored, f"GRANT SELECT ON {stored.mysql_database}.{table} TO {name}@'%'")
    finally:
        execute(stored, f"DROP USER {name}@'%'")


def test_the_audit_starts_over_if_a_table_is_altered(stored: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    def read_then_alter_once(connection: Connection) -> Any:
        nonlocal reads
        reads += 1
        found = original_ledger(connection)
        if reads == 1:
            execute(stored, "ALTER TABLE orders COMMENT = 'changed', ALGORITHM = COPY")
        return found

    original_ledger = snapshot.ledger
    monkeypatch.setattr(snapshot, "ledger", read_then_alter_once)
    assert audit.run(stored).proven
    assert reads == 2
