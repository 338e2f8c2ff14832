"""docs/tables.md on real servers: every column exists, every query runs, and the views agree with the tables."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from pathlib import Path

import msgspec
import mysql.connector
import pytest
from confluent_kafka import TopicPartition

from orderflow import audit
from orderflow.settings import Settings
from orderflow.store import schema, statements
from tests.support.corpus import numbered, quoted
from tests.support.feeder import batch_of, commit
from tests.support.records import delete_before, delete_topic, send, store
from tests.support.sql import execute, raw_session, select, select_all

PAGES = Path(__file__).parents[2] / "docs"
PAGE = (PAGES / "tables.md").read_text("utf-8")
DAY = datetime.date(2025, 1, 15)


@pytest.fixture
def filled(database: Settings) -> Settings:
    """Store four orders on two days, in two categories that differ by case, over two partitions; three bad records."""
    schema.prepare(database)
    late = {"order_timestamp": quoted("2025-01-15T23:59:59"), "product_category": quoted("sports & outdoors")}
    commit(database, batch_of([numbered(1), numbered(2, **late), b"{", b"[]", b"{"]))
    commit(database, batch_of([numbered(3, order_timestamp=quoted("2025-01-16T00:00:00")), numbered(4)], partition=1))
    return database


def test_the_page_lists_every_column(filled: Settings) -> None:
    sections = re.findall(r"^## `(\w+)`$(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    documented = {
        name: re.findall(r"^\| (\w+) \| (\w+)(?:\([\d,]+\))? \|", text, re.MULTILINE) for name, text in sections
    }
    existing: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in select(
        filled,
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = DATABASE()"
        " ORDER BY table_name, ordinal_position",
    ):
        existing.setdefault(table, []).append((column, kind.upper()))
    assert documented.keys() == set(statements.table_names(filled).values())
    for name, columns in documented.items():
        assert [("column", "type"), *existing[name]] == columns


def test_the_queries_of_the_page_return_rows(filled: Settings) -> None:
    queries = re.findall(r"```sql\n(.*?);\n```", PAGE, re.DOTALL)
    answers = dict(zip(queries, select_all(filled, *queries), strict=True))
    assert len(queries) >= 8 and all(answers.values()), answers
    assert next(rows for query, rows in answers.items() if "equal_to_the_cent" in query) == [(1,)]
    assert {row[:2] for row in next(rows for query, rows in answers.items() if "per_reason" in query)} == {
        ("malformed_json", 2),
        ("not_an_object", 1),
    }


def test_the_views_agree_with_the_tables(filled: Settings) -> None:
    assert select(filled, "SELECT * FROM orders_per_day ORDER BY day, orders") == [
        (DAY, "sports & outdoors", 1, 2, Decimal("91.98")),
        (DAY, "Sports & Outdoors", 2, 4, Decimal("183.96")),
        (DAY + datetime.timedelta(1), "Sports & Outdoors", 1, 2, Decimal("91.98")),
    ]
    assert select(filled, "SELECT orders, revenue FROM orders_per_minute WHERE minute = '2025-01-15 14:30:00'") == [
        (2, Decimal("183.96"))
    ]
    assert select(
        filled, "SELECT reason, status, records, first_quarantined_at <= last_quarantined_at FROM orders_per_reason"
    ) == [("malformed_json", "open", 2, 1), ("not_an_object", "open", 1, 1)]


def test_a_missing_view_is_created_in_an_older_database(filled: Settings) -> None:
    execute(filled, "DROP VIEW orders_per_day")
    assert [step.statement for step in schema.prepare(filled)] == ["create_per_day"]
    assert select(filled, "SELECT SUM(orders) FROM orders_per_day") == [(4,)]


OLD = {"order_timestamp": quoted("2024-12-31T23:59:59")}


def test_old_orders_are_archived_as_documented(settings: Settings) -> None:
    """The topic no longer contains the records of two old orders and of a duplicate of one."""
    send(settings, [numbered(1, **OLD), numbered(1, **OLD), numbered(2, **OLD), b"{", numbered(3), numbered(4)])
    store(settings)
    delete_before(settings, TopicPartition(settings.kafka_topic, 0, 3))
    assert audit.run(settings).is_proven
    assert _archive(settings) == []
    assert select(settings, "SELECT order_id, kafka_offset FROM orders_archive ORDER BY 1") == [
        ("ORDER-000001", 0),
        ("ORDER-000002", 2),
    ]
    assert select(settings, "SELECT order_id FROM orders ORDER BY 1") == [("ORDER-000003",), ("ORDER-000004",)]
    send(settings, [numbered(5)])
    store(settings)
    report = audit.run(settings)
    assert report.is_proven, report.sentence()
    assert (report.stored, report.quarantined, report.unprovable) == (3, 1, 0)


def test_orders_of_two_topics_are_not_archived(settings: Settings) -> None:
    """Even a client that continues after an error changes nothing."""
    second = msgspec.structs.replace(settings, kafka_topic=f"{settings.kafka_topic}-2")
    try:
        for number, current in enumerate((settings, second)):
            send(current, [numbered(number, **OLD)])
            store(current)
        assert _archive(settings) == ["Subquery returns more than 1 row"]
        assert select(settings, "SELECT COUNT(*) FROM orders_archive") == [(0,)]
        report = audit.run(settings)
        assert (report.is_proven, report.stored) == (True, 2)
        assert select(settings, "SELECT `stored` FROM orders_ledger WHERE next_offset > 0") == [(1,), (1,)]
    finally:
        delete_topic(second)


def _archive(settings: Settings) -> list[str]:
    """Run the page's statements, all of them. Return the messages of those that fail."""
    page = (PAGES / "operations.md").read_text("utf-8")
    [page_statements] = re.findall(r"<!-- archive: .*?-->\n```sql\n(.*?)```", page, re.DOTALL)
    errors = []
    with raw_session(settings) as session, session.cursor() as cursor:
        cursor.execute("CREATE TABLE orders_archive LIKE orders")
        for statement in page_statements.removesuffix(";\n").split(";\n"):
            try:
                cursor.execute(statement)
            except mysql.connector.Error as error:
                errors.append(str(error.msg))
            else:
                cursor.fetchall() if cursor.description else None
    return errors
