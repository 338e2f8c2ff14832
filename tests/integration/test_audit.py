"""The audit proves tables without a difference: with rows of every origin, after an upgrade, during a load."""

from __future__ import annotations

import itertools
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from orderflow import audit, topic
from orderflow.contract import definition
from orderflow.errors import DatabaseRefused
from orderflow.positions.kafka_topic_reader import KafkaTopicReader
from orderflow.settings import Settings
from orderflow.store import schema, snapshot
from orderflow.store.connection import Connection
from orderflow.store.record_batch import RecordBatch
from orderflow.store.writer import Writer
from tests.support.audited import COLUMNS, NO_FINDINGS, counts, fill
from tests.support.records import order, send, store, writer
from tests.support.sql import execute, select


def test_all_kinds_of_records_are_accounted_for(stored: Settings) -> None:
    send(stored, [order(2), order(6, note="unknown field")], partition=2)  # a duplicate across partitions
    store(stored)
    report = audit.run(stored)
    assert (report.is_proven, report.counts) == (True, NO_FINDINGS)
    assert counts(report) == (11, 6, 2, 3)
    assert report.by_reason == {"malformed_json": 1, "conflict": 1, "null_value": 1}
    assert report.not_yet_stored == 0
    assert report.sentence() == "Proven: 11 records = 6 stored + 2 duplicates + 3 quarantined."


def test_records_that_are_not_stored_yet_are_lag(stored: Settings) -> None:
    send(stored, [order(7)])
    report = audit.run(stored)
    assert (report.is_proven, report.records, report.not_yet_stored) == (True, 9, 1)


def test_a_record_in_chunks_is_compared_whole(settings: Settings) -> None:
    topic.get_or_create(settings)
    schema.prepare(settings)
    [(before,)] = select(settings, "SELECT @@GLOBAL.max_allowed_packet")
    execute(settings, "SET GLOBAL max_allowed_packet = 1048576")
    try:
        send(settings, [b"'" * 900_000, order(1)])
        store(settings)
        report = audit.run(settings)
        assert (report.is_proven, counts(report)) == (True, (2, 1, 0, 1))
        execute(settings, "UPDATE orders_quarantine_chunks SET bytes = REPLACE(bytes, 'x', '') WHERE chunk_index > 0")
        assert audit.run(settings).is_proven
        execute(settings, "DELETE FROM orders_quarantine_chunks WHERE chunk_index = 1")
        assert audit.run(settings).counts == NO_FINDINGS | {"quarantine": 2}
    finally:
        execute(settings, f"SET GLOBAL max_allowed_packet = {before}")


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
    assert (report.is_proven, counts(report)) == (True, (3, 1, 1, 1))
    assert (report.adopted, report.by_reason) == (3, {"conflict": 1})
    assert report.sentence().endswith(" Adopted with the table, without a record: 3 rows.")
    for forged in (
        f"INSERT INTO orders ({', '.join(definition.STANDARD_FIELDS)}, kafka_partition)"
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
    assert (report.is_proven, report.partitions_unchecked, counts(report)) == (True, 3, (10, 6, 1, 3))
    assert report.sentence().endswith(
        " An earlier version of OrderFlow wrote to 3 partitions: losses, stored_at and quarantined_at are not checked."
    )
    execute(settings, "UPDATE orders SET produced_at = produced_at + INTERVAL 1 SECOND")
    assert audit.run(settings).counts["different"] == 6


def test_stored_orders_remain_proven_when_ranges_are_enforced_later(stored: Settings) -> None:
    enforcing = msgspec.structs.replace(stored, order_ranges="enforce")
    send(enforcing, [order(6, customer_id=1)])
    store(enforcing)
    for current in (enforcing, stored):
        report = audit.run(current)
        assert (report.is_proven, report.by_reason["outside_ranges"]) == (True, 1)


def test_records_stored_during_an_audit_are_left_out(stored: Settings) -> None:
    with writer(stored) as store_new:

        def store_more(done: int, total: int) -> None:
            for partition in (0, 1, 2):
                send(stored, [order(1000 + 10 * done + partition), b"?", order(3)], partition)
            assert store_new() == 9

        report = audit.run(stored, store_more)
        assert (report.is_proven, counts(report)) == (True, (9, 5, 1, 3))
    report = audit.run(stored)
    assert (report.is_proven, report.records > 18) == (True, True)


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
    with Writer(settings, KafkaTopicReader(settings, info.topic_id)) as writing, ThreadPoolExecutor(1) as pool:
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
        assert audit.run(reader).is_proven
        execute(stored, f"REVOKE SELECT ON {stored.mysql_database}.* FROM {name}@'%'")
        tables = select(stored, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
        for (table,) in tables:
            execute(stored, f"GRANT SELECT ON {stored.mysql_database}.{table} TO {name}@'%'")
        assert audit.run(reader).is_proven
        for table in ("orders_adoption", "orders_per_day"):
            execute(stored, f"REVOKE SELECT ON {stored.mysql_database}.{table} FROM {name}@'%'")
            with pytest.raises(DatabaseRefused, match=f"user {name} lacks a privilege"):
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

    original_ledger = snapshot.read_ledger
    monkeypatch.setattr(snapshot, "read_ledger", read_then_alter_once)
    assert audit.run(stored).is_proven
    assert reads == 2
