"""Each change of a table by hand is a finding of the audit, which names the record and the values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from orderflow import audit
from orderflow.settings import Settings
from tests.support.audited import NO_FINDINGS, counts, created_once, fill, restore
from tests.support.processes import run
from tests.support.sql import execute


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def template(request: pytest.FixtureRequest, kafka: str) -> Iterator[Settings]:
    """Yield settings of a database filled by `fill`, created once for many tests, with a copy of each table."""
    yield from created_once(request, kafka, fill)


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
        {"counters": 2},
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
    "more times than rows": (
        "UPDATE orders_ledger SET times_rows = times_rows + 1 WHERE kafka_partition = 0",
        {"counters": 1},
    ),
    "loss of no offset": (
        "INSERT INTO orders_losses"
        " (topic, topic_id, kafka_partition, first_offset, end_offset, accepted_at, accepted_by)"
        " SELECT topic, topic_id, kafka_partition, next_offset, next_offset, UTC_TIMESTAMP(6), 'x' FROM orders_ledger"
        " WHERE kafka_partition = 0",
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
    assert not report.is_proven
    assert report.sentence().startswith("Not proven: ")
    assert {kind: len(report.listed(kind)) for kind in report.counts} == report.counts


def test_an_unchanged_table_is_proven(template: Settings) -> None:
    report = audit.run(template)
    assert (report.is_proven, report.counts, counts(report)) == (True, NO_FINDINGS, (9, 5, 1, 3))


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
        "Proven: 9 records = 5 stored + 1 duplicate + 3 quarantined.",
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
