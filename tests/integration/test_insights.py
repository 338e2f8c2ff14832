"""The reading functions on both servers: they agree with SQL, change nothing and block nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import pytest

from orderflow import topic as topics
from orderflow.embedded.ports import free_port
from orderflow.errors import DatabaseRefused, DatabaseUnavailable, InputInvalid
from orderflow.insights import latency, sales, track
from orderflow.insights.monitor import Monitor, Snapshot
from orderflow.settings import Settings
from orderflow.store import audits, ledger, viewer_queries
from orderflow.store.connection import Connection
from tests.support import shop
from tests.support.corpus import message
from tests.support.feeder import Feeder, many, order, priced
from tests.support.processes import until
from tests.support.sql import execute, select

CATEGORIES = [f"Category {letter}" for letter in "ABCDEFGHI"]  # two more than are shown separately


@pytest.fixture
def feeder(database: Settings) -> Feeder:
    return Feeder(database)


def test_sales_equal_the_tables_to_the_cent(database: Settings, feeder: Feeder) -> None:
    now = datetime.now(UTC)
    feeder.store(*many(1, 500, CATEGORIES))
    feeder.store(priced(900, 99_999, 3, now - timedelta(days=400)), priced(901, 12_345, 2, now + timedelta(days=400)))
    with viewer_queries.open_reader(database) as connection:
        today, hour, products = (
            sales.read_today(connection),
            sales.read_history(connection, "1h"),
            viewer_queries.read_products(connection),
        )

    where = (
        f"FROM orders WHERE order_timestamp >= '{today.since:%Y-%m-%d}' AND order_timestamp < '{today.until:%Y-%m-%d}'"
    )
    assert (today.orders, today.units, today.revenue) == select(
        database, f"SELECT COUNT(*), SUM(quantity), SUM(total_price) {where}"
    )[0]
    shown_totals = [(total.name, total.orders, total.units, total.revenue) for total in today.leading]
    by_category = f"SELECT product_category, COUNT(*), SUM(quantity), SUM(total_price) {where} GROUP BY 1"
    assert shown_totals == select(database, f"{by_category} ORDER BY 4 DESC LIMIT 7")

    assert (hour.sales.orders, hour.sales.revenue) == (500, sum(bucket.revenue for bucket in hour.buckets))
    others = [bucket for bucket in hour.buckets if bucket.category is None]
    shown_names = {total.name for total in hour.sales.leading}
    assert sum(bucket.orders for bucket in others) == sum(
        count for name, count, *_ in select(database, by_category) if name not in shown_names
    )
    assert products and products.orders == 501  # includes the one in the past, but not the one in the future
    assert [(total.name, total.units) for total in products.leading] == select(
        database,
        "SELECT product_name, SUM(quantity) FROM orders WHERE order_timestamp <= UTC_TIMESTAMP()"
        " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 6",
    )


def test_empty_tables_give_empty_results(database: Settings, feeder: Feeder) -> None:
    with viewer_queries.open_reader(database) as connection:
        assert sales.read_today(connection).revenue == Decimal("0.00")
        assert sales.read_history(connection, "24h").buckets == ()
        assert viewer_queries.read_products(connection) is None
        assert latency.read(connection, datetime.now(UTC)) is None
        assert viewer_queries.read_latest(connection, 5) == ()
        assert viewer_queries.read_quarantined(connection) == ()
        assert track.track_order(connection, "1").order is None


def test_latest_and_latency_cover_only_current_orders(database: Settings, feeder: Feeder) -> None:
    now = datetime.now(UTC)
    feeder.store(order(1, now - timedelta(days=300)), late=3600)  # a replay of old records
    feeder.store(order(2, now + timedelta(days=300)))  # a wrong clock
    feeder.store(*(order(number, now - timedelta(seconds=5)) for number in range(10, 20)), late=2)
    feeder.store(*(order(number, now - timedelta(seconds=4)) for number in range(20, 120)), late=0.25)
    with viewer_queries.open_reader(database) as connection:
        latest = viewer_queries.read_latest(connection, 105)
        measured = latency.read(connection, latest[0].order_timestamp)
    assert [listed.order_id for listed in latest[:2]] == ["ORDER-000119", "ORDER-000118"]
    assert latest[-1].order_id == "ORDER-000015"
    assert measured and measured.orders == 110
    assert 0.2 < measured.p50 < 1.5 < 2 <= measured.p99 < 10


def test_an_order_is_read_with_its_history(database: Settings, feeder: Feeder) -> None:
    sent = order(123)
    feeder.store(sent, late=0.5)
    feeder.store(sent, order(123, customer_id=5), order(124, customer_id=5), b"not JSON")
    with viewer_queries.open_reader(database) as connection:
        history = track.track_order(connection, "123")
        result = track.search(connection, " 5 ")
        assert track.track_order(connection, "order-000124").order == result.orders[0]
        quarantined = viewer_queries.read_quarantined(connection)
        [malformed] = viewer_queries.read_quarantined(connection, "malformed_json")
        assert malformed in quarantined and len(quarantined) == 2
        assert viewer_queries.read_quarantined(connection, "malformed_json", malformed.quarantine_id) == ()
        assert viewer_queries.read_quarantined(connection, before=quarantined[0].quarantine_id) == quarantined[1:]
        assert viewer_queries.count_open_by_reason(connection) == {"conflict": 1, "malformed_json": 1}
        for words in ("", "ORDER-12", "ORDER-000123x", "1" * 45, "DROP TABLE"):
            with pytest.raises(InputInvalid):
                track.search(connection, words)
    assert history.order and (history.order.partition, history.order.offset) == (0, 0)
    assert history.to_table and 0.5 <= history.to_table < 10
    [conflict] = history.quarantined
    assert (conflict.reason, conflict.offset, conflict.status) == ("conflict", 2, "open")
    assert [tracked.order_id for tracked in result.orders] == ["ORDER-000124"]
    assert (malformed.value, malformed.value_bytes) == (b"not JSON", 8)


def test_an_order_of_a_contract_file_is_read_with_its_history(database: Settings) -> None:
    text = shop.TEXT.replace('"customer.id"\ntype = "string"', '"customer.id"')  # the tables keep INT
    database = msgspec.structs.replace(database, order_contract="shop.toml", order_contract_text=text)
    value = shop.VALUE.replace(b'"C-1"', b"1")
    other = value.replace(b"2025-123", b"2024-001").replace(b'"id":1', b'"id":42')
    Feeder(database).store(value, other, value.replace(b"web", b"store"))
    with viewer_queries.open_reader(database) as connection:
        history = track.track_order(connection, "123")
        assert track.track_order(connection, "po-2025-123") == history
        assert track.track_order(connection, "PO-2024-001").order is not None
        searches = [track.search(connection, words) for words in ("42", "PO-2024-001", "123", "PO-2025-999")]
        [newest, _] = viewer_queries.read_latest(connection, 5)
        for words in ("", "PO-2025-1", "x" * 60, "\0"):
            with pytest.raises(InputInvalid):
                track.track_order(connection, words)
    assert history.order and history.order.customer_id == 1 and newest.custom_fields == {}
    assert history.order.custom_fields == {
        "channel": "web",
        "coupon": None,
        "weight": Decimal("1.500"),
        "gift": True,
        "paid_at": datetime(2025, 1, 15, 14, 30, 45, 500_000, UTC),
        "points": 3,
        "extra": '{"a":[1.0]}',
        "other_fields": '{"more":1}',
    }
    [conflict] = history.quarantined
    assert conflict.reason == "conflict"
    results = [
        (search.order and search.order.order_id, [listed.order_id for listed in search.orders]) for search in searches
    ]
    assert results == [(None, ["PO-2024-001"]), ("PO-2024-001", []), ("PO-2025-123", []), (None, [])]
    assert [search.order_id for search in searches] == [None, "PO-2024-001", None, "PO-2025-999"]


def test_a_long_record_is_truncated(database: Settings, feeder: Feeder) -> None:
    value = message(more=f'"{"x" * 100_000}"', quantity='"two"')
    feeder.store(value)
    with viewer_queries.open_reader(database) as connection:
        [record] = viewer_queries.read_quarantined(connection)
    assert record.value == value[:2048] and record.value_bytes == len(value)


def test_no_read_grows_with_the_table(database: Settings, feeder: Feeder) -> None:
    """Measured by the rows that the server's storage engine reads."""
    feeder.store(*many(1, 6000), *[b"no order"] * 60)
    with viewer_queries.open_reader(database) as connection:
        reads: dict[str, Callable[[], object]] = {
            "latest": lambda: viewer_queries.read_latest(connection, 20),
            "latency": lambda: latency.read(connection, datetime.now(UTC)),
            "products": lambda: viewer_queries.read_products(connection),
            "today": lambda: sales.read_today(connection),
            **{window: partial(sales.read_history, connection, window) for window in sales.WINDOWS},
            "ledger": lambda: ledger.read_entries(connection),
            "leader": lambda: ledger.has_active_sink(connection, database),
            "audit": lambda: audits.last(connection),
            "story": lambda: track.track_order(connection, "123"),
            "search": lambda: track.search(connection, "50007"),
            "quarantine": lambda: viewer_queries.read_quarantined(connection),
            "reason": lambda: viewer_queries.read_quarantined(connection, "malformed_json"),
        }

        def rows_read() -> int:
            connection.rollback()
            with connection._raw.cursor() as cursor:
                cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
                counters: list[Any] = cursor.fetchall()
                return sum(int(count) for _, count in counters)

        def costs() -> dict[str, int]:
            measured = {}
            for name, read in reads.items():
                before = rows_read()
                read()
                measured[name] = rows_read() - before
            return measured

        # latency.read excludes the orders of the last two seconds.
        until(lambda: (measured := latency.read(connection, datetime.now(UTC))) and measured.orders == 2000)
        few = costs()
        feeder.store(*many(6001, 6000), *[b"no order"] * 60)
        more = costs()
    assert few["latest"] < 100 and few["story"] < 10
    assert {name: count for name, count in more.items() if count > few[name] + 100} == {}


def test_readers_change_nothing_and_time_out(database: Settings, feeder: Feeder) -> None:
    feeder.store(order(1))
    with viewer_queries.open_reader(database) as connection:
        with pytest.raises(DatabaseUnavailable, match=r"(?i)read.only"):
            values = {"topic": "orders", "partition": 7, "topic_id": "id", "first_offset": 0}
            connection.execute("add_partition", values)
        connection.rollback()
        started_at = time.monotonic()
        with connection._raw.cursor() as cursor, pytest.raises(Exception, match=r"(?i)maximum|max_statement_time"):
            cursor.execute("SELECT COUNT(*) FROM orders WHERE SLEEP(60) OR customer_id")
            cursor.fetchall()
        assert time.monotonic() - started_at < 10


def test_the_configured_reader_user_is_used(database: Settings, feeder: Feeder) -> None:
    feeder.store(order(1))
    execute(database, "CREATE USER IF NOT EXISTS 'reader'@'%' IDENTIFIED BY 'look only'")
    execute(database, f"GRANT SELECT ON {database.mysql_database}.* TO 'reader'@'%'")
    settings = msgspec.structs.replace(
        database, mysql_reader_user="reader", mysql_reader_password="look only", mysql_password="wrong"
    )
    try:
        with viewer_queries.open_reader(settings) as connection:
            assert len(viewer_queries.read_latest(connection, 5)) == 1
        with (
            pytest.raises(DatabaseRefused, match="reader"),
            viewer_queries.open_reader(msgspec.structs.replace(settings, mysql_reader_password="wrong")),
        ):
            pass
    finally:
        execute(database, "DROP USER 'reader'@'%'")


@contextmanager
def watching(settings: Settings) -> Iterator[Monitor]:
    monitor = Monitor(settings)
    with monitor.watching({"1h"}):
        yield monitor


def test_the_monitor_follows_tables_topic_and_sink(settings: Settings) -> None:
    feeder = Feeder(settings, topics.create(settings, 1).topic_id)
    feeder.store(*many(1, 10))
    repeated = order(15)
    with watching(settings) as monitor:
        until(lambda: monitor.history("1h") and monitor.snapshot().status)
        initial = monitor.snapshot()
        assert initial.status and (initial.status.stored, initial.database.state) == (10, "ok")
        with Connection(settings) as connection:
            assert ledger.take_leadership(connection, settings, 0)
            until(lambda: monitor.snapshot().sink.state == "ok")
            feeder.store(*many(11, 4), repeated, repeated, b"no order")
            until(lambda: _counts(monitor.snapshot()) == (15, 1, 1))
            until(lambda: _open(monitor.snapshot()) == {"malformed_json": 1})
        until(lambda: monitor.snapshot().sink.state == "unavailable")
        last = monitor.snapshot()
    assert "orderflow sink" in last.sink.hint
    assert last.kafka.state == "ok"
    assert any(last.rates) and len(last.latest) == 15


def test_the_monitor_names_a_topic_that_was_created_again(settings: Settings) -> None:
    topics.create(settings, 1)
    Feeder(settings, "the id of the deleted topic").store(order(1))
    with watching(settings) as monitor:
        until(lambda: "deleted and created again" in monitor.snapshot().sink.sentence)
        status = monitor.snapshot().status
    assert status and status.lag is None


def test_the_monitor_reports_servers_that_do_not_answer(settings: Settings) -> None:
    unused_address = f"127.0.0.1:{free_port()}"
    Feeder(settings)
    with watching(msgspec.structs.replace(settings, kafka_bootstrap_servers=unused_address)) as monitor:
        until(lambda: monitor.snapshot().kafka.state == "unavailable" and monitor.snapshot().status)
        snapshot = monitor.snapshot()
        assert snapshot.status and snapshot.status.lag is None
        assert unused_address in snapshot.kafka.sentence and snapshot.database.state == "ok"
    unavailable = msgspec.structs.replace(settings, mysql_port=free_port())
    with watching(unavailable) as monitor:
        until(lambda: monitor.snapshot().database.state == "unavailable")
        assert unavailable.database_address in monitor.snapshot().database.sentence
        assert monitor.snapshot().sink.state == "unknown"


def _open(snapshot: Snapshot) -> dict[str, int] | None:
    return snapshot.status.open_by_reason if snapshot.status else None


def _counts(snapshot: Snapshot) -> tuple[int, int, int] | None:
    status = snapshot.status
    return (status.stored, status.duplicates, status.quarantined) if status else None
