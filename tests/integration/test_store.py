"""The store on real servers: one batch in one transaction, despite failures and concurrent sessions."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from orderflow.contract import exact_path
from orderflow.contract.definition import EIGHT, Order, Reason
from orderflow.embedded import debian as packages
from orderflow.embedded.database import Database
from orderflow.embedded.process import free_port
from orderflow.errors import (
    Contention,
    DatabaseUnavailable,
    LedgerGap,
    OffsetsLost,
    OrderFlowError,
    TooManyRejected,
    TopicRecreated,
)
from orderflow.settings import Settings
from orderflow.store import ledger, orders, quarantine, schema
from orderflow.store import writer as writer_module
from orderflow.store.commit_ticket import CommitTicket
from orderflow.store.connection import Connection
from orderflow.store.record_batch import RecordBatch
from orderflow.store.replay import replay
from orderflow.store.writer import Committed, Writer
from tests.corpus import CASES, LONGEST, ORDER, SAMPLE, STORIES, TEXTS, Step, message, numbered, quoted
from tests.feeder import PRODUCED, TOPIC, Topic, batch_of, commit, interleaved
from tests.processes import until
from tests.servers import running
from tests.sql import execute, raw_session, select, select_all
from tests.tables import assert_consistent, contents, delete_rows

# Stored and rejected records.


def test_the_sample_is_stored_exactly(store: Settings, load_data: bool) -> None:
    assert commit(store, batch_of([SAMPLE], 7, 2), Topic(first=7), load_data=load_data) == Committed(stored=1)
    assert select(store, "SELECT * FROM orders") == [ORDER.row()]
    coordinates = select(store, "SELECT kafka_partition, kafka_offset, produced_at, stored_at FROM orders")
    assert coordinates[0][:2] == (2, 7)
    assert coordinates[0][2].isoformat(timespec="milliseconds") == "2025-01-15T14:30:45.123"
    assert select(store, "SELECT ABS(TIMESTAMPDIFF(SECOND, stored_at, UTC_TIMESTAMP())) < 60 FROM orders") == [(1,)]
    assert_consistent(store)


def test_repeats_are_duplicates_and_changed_repeats_are_conflicts(
    store: Settings, load_data: bool, subtests: pytest.Subtests
) -> None:
    for story in STORIES:
        with subtests.test(story.name):
            delete_rows(store)
            outcomes: Counter[str] = Counter()
            offsets: Counter[int] = Counter()
            for batch in story.batches:
                with Writer(store, TOPIC) as writer:
                    writer.uses_load_data = load_data
                    for partition, steps in _by_partition(batch):
                        records = batch_of([step.value for step in steps], offsets[partition], partition)
                        committed = writer.commit(records._replace(keys=[step.key for step in steps]))
                        offsets[partition] += len(steps)
                        outcomes.update(
                            stored=committed.stored, duplicate=committed.duplicates, **committed.quarantined
                        )
            steps = [step for batch in story.batches for step in batch]
            assert +outcomes == Counter(step.outcome for step in steps)
            rows, kept = select_all(
                store, "SELECT * FROM orders", "SELECT record_key, record_value, reason FROM orders_quarantine"
            )
            firsts = [step for step in steps if step.outcome == "stored"]
            assert Counter(rows) == Counter(exact_path.decode(step.value).row() for step in firsts)
            assert Counter(kept) == Counter(
                (step.key, step.value, step.outcome) for step in steps if isinstance(step.outcome, Reason)
            )
            assert_consistent(store)


def _by_partition(batch: Iterable[Step]) -> list[tuple[int, list[Step]]]:
    steps: dict[int, list[Step]] = {}
    for step in batch:
        steps.setdefault(step.partition, []).append(step)
    return sorted(steps.items())


def test_the_whole_corpus_is_stored_in_one_batch(store: Settings, load_data: bool) -> None:
    cases = [case for case in CASES if len(case.value or b"") < 2_000_000]
    accepted = {
        number: msgspec.structs.replace(case.expected, order_id=f"ORDER-{number:06}")
        for number, case in enumerate(cases)
        if isinstance(case.expected, Order)
    }
    values = [_spelled(accepted[number]) if number in accepted else case.value for number, case in enumerate(cases)]
    committed = commit(store, batch_of(values), load_data=load_data)
    assert committed.stored == len(accepted) and committed.duplicates == 0
    assert committed.quarantined == Counter(case.expected for case in cases if isinstance(case.expected, Reason))
    assert select(store, "SELECT * FROM orders ORDER BY order_id") == [order.row() for order in accepted.values()]
    assert_consistent(store)


def test_each_text_is_stored_in_a_batch_of_its_own(store: Settings, load_data: bool) -> None:
    """LOAD DATA's file is escaped completely or not at all, so another text in the batch could hide a defect here."""
    with Writer(store, TOPIC) as writer:
        writer.uses_load_data = load_data
        for number, text in enumerate((TEXTS | LONGEST).values()):
            writer.commit(batch_of([numbered(number, product_name=quoted(text))], number))
    stored = select(store, "SELECT product_name FROM orders ORDER BY order_id")
    assert [name for (name,) in stored] == [*(TEXTS | LONGEST).values()]


def _spelled(order: Order) -> bytes:
    """Return a message that holds this order."""
    fields = {name: quoted(value) if isinstance(value, str) else str(value) for name, value in _fields(order).items()}
    return message(**fields)


def _fields(order: Order) -> dict[str, Any]:
    return {name: getattr(order, name) for name in EIGHT}


def test_load_data_and_insert_write_the_same(store: Settings) -> None:
    by_insert = msgspec.structs.replace(store, mysql_table="by_insert")
    schema.prepare(by_insert)
    accepted = [case.expected for case in CASES if isinstance(case.expected, Order)]
    orders_sent = [
        msgspec.structs.replace(order, order_id=f"ORDER-{number:06}") for number, order in enumerate(accepted)
    ]
    assert len(orders_sent) > 100
    values = [_spelled(order) for order in orders_sent]
    values += [*values[:10], message(order_id='"ORDER-000000"', customer_id="4"), b"\xff"]
    batch = batch_of(values)._replace(timestamps=[PRODUCED, -1, 0, 2**62, *range(len(values) - 4)])
    assert commit(store, batch, load_data=True) == commit(by_insert, batch, load_data=False)
    assert contents(store) == contents(by_insert)
    stored = select(store, "SELECT HEX(product_name), HEX(product_category) FROM orders ORDER BY order_id")
    assert stored == [
        tuple(text.encode().hex().upper() for text in (order.product_name, order.product_category))
        for order in orders_sent
    ]


def test_the_quarantine_keeps_every_byte(store: Settings) -> None:
    all_bytes = bytes(range(256))
    values = [
        all_bytes,
        all_bytes[::-1],
        b"'\"\\\0\n\r\x1a%s",
        "🧘".encode(),
        b"\xed\xa0\x80",
        b" ",
        b"",
        None,
        b"x" * 3_000_000,
    ]
    batch = batch_of(values, key=all_bytes)
    batch = batch._replace(
        headers=[[("trace", all_bytes), ("none", None), ("é", b"")], *[[]] * 8],
        keys=[all_bytes, None, b"", *[all_bytes] * 6],
    )
    assert commit(store, batch).quarantined.total() == len(values)
    rows = select(store, "SELECT record_key, record_value, record_headers FROM orders_quarantine ORDER BY kafka_offset")
    assert [row[1] for row in rows] == values
    assert [row[0] for row in rows] == list(batch.keys)
    headers = msgspec.json.decode(rows[0][2], type=list[tuple[str, bytes | None]])
    assert headers == [("trace", all_bytes), ("none", None), ("é", b"")] and not any(row[2] for row in rows[1:])
    assert_consistent(store)


def test_no_rejection_stops_the_batch(store: Settings) -> None:
    """Each record has valid orders around it, because its own text ends up in the quarantine."""
    bad = [case.value for case in CASES if isinstance(case.expected, Reason) and len(case.value or b"") < 2_000_000]
    with Writer(store, TOPIC) as writer:
        for start in range(0, len(bad), 50):
            chunk = bad[start : start + 50]
            values = [numbered(start), *chunk, numbered(start + 1)]
            committed = writer.commit(batch_of(values, start + 2 * (start // 50)))
            assert (committed.stored, committed.quarantined.total()) == (2, len(chunk))
    assert_consistent(store)


def test_the_detail_of_a_conflict_is_harmless(store: Settings) -> None:
    hostile = "\x1b[2J\x07\u202e" + "🧘" * 240
    commit(store, batch_of([message(product_name=quoted(hostile)), SAMPLE]))
    [(detail, order_id)] = select(store, "SELECT detail, order_id FROM orders_quarantine")
    assert order_id == "ORDER-000001" and "product_name" in detail
    assert detail.isprintable() and detail.isascii(), "as the details of the decoder"


def test_unknown_fields_are_counted(store: Settings) -> None:
    committed = commit(store, batch_of([message(coupon="1", note="2"), numbered(2, coupon="1"), SAMPLE, numbered(3)]))
    assert committed == Committed(stored=3, duplicates=1, unknown_fields=Counter(coupon=2, note=1))
    assert select(store, "SELECT unknown_fields FROM orders_ledger") == [(3,)]


def test_enforced_ranges_quarantine_orders_outside_of_them(store: Settings) -> None:
    enforcing = msgspec.structs.replace(store, order_ranges="enforce")
    inside = numbered(2, unit_price="50.00", total_price="100.00")
    assert commit(enforcing, batch_of([SAMPLE, inside])).quarantined == {Reason.OUTSIDE_RANGES: 1}
    assert_consistent(store)


def test_the_rollup_equals_the_table_to_the_cent(store: Settings) -> None:
    rng = Random(4)
    categories = ["Toys", "toys", "Toys ", "Tóys", "🧸", "\t", "x" * 100]
    values = []
    for number in range(600):
        price, quantity = rng.randint(1, 99_999), rng.randint(1, 9)
        values.append(
            numbered(
                rng.randint(1, 400),
                product_category=quoted(rng.choice(categories)),
                unit_price=f"{price}e-2",
                quantity=str(quantity),
                total_price=f"{price * quantity}e-2",
                order_timestamp=f'"2025-01-15T14:{30 + number % 3}:{number % 60:02}"',
            )
        )
    for partition in range(3):
        for start in range(0, 200, 40):
            commit(store, batch_of(values[partition * 200 + start :][:40], start, partition))
            assert_consistent(store)
    assert select(store, "SELECT COUNT(*) FROM orders")[0][0] < 400


# The ledger's position.


MIXED: list[bytes | None] = [
    [numbered(n), numbered(n // 2), b"{", numbered(n, customer_id="5"), None][n % 5] for n in range(150)
]


def test_repeated_and_overlapping_batches_count_once(store: Settings) -> None:
    once = msgspec.structs.replace(store, mysql_table="once")
    schema.prepare(once)
    commit(once, batch_of(MIXED))
    rng = Random(3)
    with Writer(store, TOPIC) as first, Writer(store, TOPIC) as second:
        position = 0
        while position < len(MIXED):
            start = rng.randint(0, position)
            batch = batch_of(MIXED[start : rng.randint(start, len(MIXED))], start)
            rng.choice([first, second]).commit(batch)
            position = max(position, start + len(batch.values))
        assert first.commit(batch_of(MIXED)) == second.commit(batch_of(MIXED)) == Committed()
        assert first.commit(batch_of([])) == Committed()
    assert_consistent(store)
    assert contents(store) == contents(once)


def test_writers_that_commit_the_same_batches_at_once_store_them_once(store: Settings) -> None:
    def work(seed: int) -> int:
        with Writer(store, TOPIC) as writer:
            return sum(writer.commit(batch_of(MIXED[at : at + 20], at)).stored for at in range(0, len(MIXED), 10))

    with ThreadPoolExecutor(3) as pool:
        stored = sum(pool.map(work, range(3)))
    assert [(stored,)] == select(store, "SELECT COUNT(*) FROM orders")
    assert select(store, "SELECT next_offset FROM orders_ledger") == [(len(MIXED),)]
    assert_consistent(store)


def test_a_gap_without_records_is_skipped(store: Settings) -> None:
    source = Topic(frozenset({(0, 4), (1, 7), (0, 10)}))
    commit(store, batch_of([numbered(n) for n in range(5)]), source)
    assert commit(store, batch_of([numbered(10)], 10), source).stored == 1
    assert select(store, "SELECT next_offset, `stored` FROM orders_ledger") == [(11, 6)]


def test_a_gap_with_records_is_refused(store: Settings) -> None:
    source = Topic(frozenset({(0, 9)}))
    commit(store, batch_of([numbered(n) for n in range(5)]), source)
    before = contents(store)
    with pytest.raises(LedgerGap, match=r"orders partition 0 starts at offset 10, but the ledger is at 5\."):
        commit(store, batch_of([numbered(10), b"{"], 10), source)
    assert contents(store) == before
    assert commit(store, batch_of([numbered(9), numbered(10)], 9), source).stored == 2


def test_a_new_partition_begins_at_the_first_offset_of_the_topic(store: Settings) -> None:
    source = Topic(frozenset({(0, 100), (0, 101)}), first=100)
    with pytest.raises(LedgerGap):
        commit(store, batch_of([numbered(1)], 101), source)
    assert commit(store, batch_of([numbered(0), numbered(1)], 100), source).stored == 2
    assert select(store, "SELECT first_offset, next_offset FROM orders_ledger") == [(100, 102)]
    assert_consistent(store)


def test_a_recreated_topic_is_refused(store: Settings) -> None:
    commit(store, batch_of([numbered(1)]))
    before = contents(store)
    with pytest.raises(TopicRecreated, match="second"):
        commit(store, batch_of([numbered(2)], 1), Topic(topic_id="second"))
    with Connection(store) as connection, pytest.raises(TopicRecreated):
        ledger.open_partitions(connection, "orders", "second", {0: 0})
    assert contents(store) == before
    assert commit(store, batch_of([numbered(2)]), Topic(topic="other", topic_id="second")).stored == 1


def test_positions_are_read_from_the_ledger(store: Settings) -> None:
    with Connection(store) as connection:
        assert ledger.open_partitions(connection, "orders", "first", {0: 0, 1: 5}) == {0: 0, 1: 5}
        commit(store, batch_of([numbered(1), b"{"]))
        assert ledger.open_partitions(connection, "orders", "first", {0: 0, 1: 0, 2: 0}) == {0: 2, 1: 5, 2: 0}
        assert ledger.totals(ledger.entries(connection)) == (1, 0, 1)
        with pytest.raises(OffsetsLost, match="orders partition 0 offsets 2 to 8") as raised:
            ledger.open_partitions(connection, "orders", "first", {0: 9, 1: 5})
        assert "partition 1" not in raised.value.message


def test_the_ledger_has_the_last_record_of_each_partition(store: Settings) -> None:
    first = ledger.fingerprint(PRODUCED, b"first")
    with Connection(store) as connection:
        assert ledger.open_partitions(connection, "orders", "first", {0: 0, 1: 0}) == {0: 0, 1: 0}
        assert ledger.last_records(connection, "orders") == {}
        commit(store, interleaved(batch_of([numbered(1), b"{"], key=b"first"), batch_of([numbered(2)], 7, partition=1)))
        assert ledger.last_records(connection, "orders")[0] == (1, first)
        commit(store, batch_of([numbered(1)], key=b"again"))  # is stored already
        ledger.accept_losses(connection, "orders", "first", {0: 30}, "ann")
        [entry] = quarantine.matching(connection, quarantine.Filter())
        assert replay(connection, store, entry, by="ann", corrected=numbered(3)).result.good
        known = {0: (1, first), 1: (7, ledger.fingerprint(PRODUCED, b"key"))}
        assert ledger.last_records(connection, "orders") == known
        assert ledger.last_records(connection, "other") == {}
        commit(store, batch_of([b"{"], 30, key=None))
        assert ledger.last_records(connection, "orders")[0] == (30, ledger.fingerprint(PRODUCED, None))


def test_the_next_sink_becomes_the_leader_when_the_session_ends(store: Settings) -> None:
    elsewhere = msgspec.structs.replace(store, kafka_topic="elsewhere")
    with Connection(store) as second:
        with Connection(store) as first, Connection(store) as third:
            assert ledger.take_leadership(first, store, 0)
            assert not ledger.take_leadership(second, store, 0)
            assert ledger.take_leadership(third, elsewhere, 0)
        assert ledger.take_leadership(second, store, 10)


# Rows that the server refuses.


def test_only_the_rows_that_the_database_refuses_are_quarantined(store: Settings, load_data: bool) -> None:
    execute(store, "ALTER TABLE orders ADD CONSTRAINT no_thirteen CHECK (customer_id <> 13)")
    refused = {4, 5, 63}
    values: list[bytes | None] = [
        numbered(n, customer_id="13" if n in refused else "1", coupon="1" if n % 10 == 0 else None) for n in range(64)
    ]
    values += [numbered(0, customer_id="1"), numbered(4, customer_id="13"), numbered(1, customer_id="2"), b"{"]
    committed = commit(store, batch_of(values), load_data=load_data)
    assert committed.stored == 61
    assert committed.duplicates == 1
    assert committed.quarantined == {Reason.REFUSED_BY_DATABASE: 4, Reason.CONFLICT: 1, Reason.MALFORMED_JSON: 1}
    kept = select(store, "SELECT kafka_offset, order_id, record_value, detail FROM orders_quarantine ORDER BY 1")
    assert [row[0] for row in kept] == [4, 5, 63, 65, 66, 67]
    assert [row[2] for row in kept] == [values[row[0]] for row in kept]
    assert kept[0][1] == "ORDER-000004" and "no_thirteen" in kept[0][3]
    assert select(store, "SELECT COUNT(*) FROM orders WHERE customer_id = 13") == [(0,)]
    assert_consistent(store)


def test_an_order_that_a_trigger_refuses_is_quarantined(store: Settings, load_data: bool) -> None:
    execute(
        store,
        "CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW"
        " IF NEW.quantity = 3 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'three are too many'; END IF",
    )
    values = [numbered(1), numbered(2, quantity="3", total_price="137.97"), numbered(3)]
    committed = commit(store, batch_of(values), load_data=load_data)
    assert (committed.stored, committed.quarantined) == (2, {Reason.REFUSED_BY_DATABASE: 1})
    assert_consistent(store)


@pytest.mark.parametrize(
    "change",
    [
        "MODIFY product_name VARCHAR(10) NOT NULL",
        "MODIFY product_name VARCHAR(255) CHARACTER SET latin1 NOT NULL",
        "MODIFY customer_id SMALLINT NOT NULL",
        "MODIFY quantity TINYINT NOT NULL",
        "MODIFY unit_price DECIMAL(10,1) NOT NULL",
        "MODIFY unit_price DECIMAL(4,2) NOT NULL",
        "MODIFY total_price DECIMAL(10,0) NOT NULL",
        "MODIFY order_timestamp DATE NOT NULL",
        "MODIFY order_timestamp TIMESTAMP NOT NULL",
        "MODIFY order_id VARCHAR(14) NOT NULL",
        "MODIFY kafka_offset TINYINT NULL",
        "ADD UNIQUE KEY one_per_customer (customer_id)",
        "ADD UNIQUE KEY one_per_name (product_name(4))",
    ],
)
def test_a_table_changed_while_running_never_stores_another_value(store: Settings, change: str) -> None:
    """LOAD DATA LOCAL and INSERT IGNORE clamp, round and truncate values. The table must keep none of these."""
    values = [
        numbered(1, unit_price="2", total_price="4", order_timestamp='"2025-01-15T00:00:00"', customer_id="1"),
        numbered(2, product_name='"Garden Tools Set"', customer_id="70000"),
        numbered(3, product_name='"🧘"', customer_id="3"),
        numbered(4, quantity="1000", total_price="45990", order_timestamp='"0999-01-15T00:00:01"', customer_id="4"),
        numbered(12_345_678_901_234, customer_id="5", unit_price="100.50", total_price="201"),
        *[numbered(n, customer_id=str(n), product_name=f'"{n}"') for n in range(6, 30)],
        numbered(30, customer_id="6", product_name='"30"'),
    ]
    start = 120  # beyond the range of TINYINT within the batch
    sent = [(*_fields(exact_path.decode(value)).values(), offset) for offset, value in enumerate(values, start)]
    time = "DATE_FORMAT(order_timestamp, '%Y-%m-%dT%H:%i:%s')"
    columns = ", ".join([*EIGHT[:-1], time, "kafka_offset"])
    with Writer(store, Topic(first=start)) as writer:
        execute(store, f"ALTER TABLE orders {change}")
        for writer.uses_load_data in (True, False):
            committed = writer.commit(batch_of(values, start))
            assert committed.stored + committed.quarantined[Reason.REFUSED_BY_DATABASE] == len(values)
            assert committed.stored and committed.quarantined
            assert set(select(store, f"SELECT {columns} FROM orders")) <= set(sent)
            assert_consistent(store)
            delete_rows(store)


def test_the_writer_continues_by_insert_when_local_infile_is_switched_off(store: Settings) -> None:
    with Writer(store, TOPIC) as writer:
        assert writer.uses_load_data
        assert writer.commit(batch_of([numbered(1)])).stored == 1
        execute(store, "SET GLOBAL local_infile = OFF")
        try:
            assert writer.commit(batch_of([numbered(2), numbered(1), b"{"], 1)) == Committed(
                stored=1, duplicates=1, quarantined=Counter({Reason.MALFORMED_JSON: 1})
            )
            assert not writer.uses_load_data
            assert writer.commit(batch_of([numbered(3)], 4)).stored == 1
            with Writer(store, TOPIC) as new_writer:
                assert not new_writer.uses_load_data
                assert new_writer.commit(batch_of([numbered(4)], 5)).stored == 1
        finally:
            execute(store, "SET GLOBAL local_infile = ON")
    assert_consistent(store)


def test_a_batch_larger_than_one_statement_is_stored(store: Settings, load_data: bool) -> None:
    values = [numbered(n, order_timestamp=f'"2025-01-15T{n // 60 % 24:02}:{n % 60:02}:00"') for n in range(2500)]
    assert commit(store, batch_of(values), load_data=load_data).stored == 2500
    repeated = commit(store, batch_of([*values, *values[::-1]], 2500), load_data=load_data)
    assert repeated == Committed(duplicates=5000)
    assert_consistent(store)


def test_a_repeat_of_more_orders_than_the_server_counts_warnings_is_all_duplicates(store: Settings) -> None:
    values = [numbered(n) for n in range(70_000)]
    assert commit(store, batch_of(values)).stored == 70_000
    assert commit(store, batch_of(values, 70_000)) == Committed(duplicates=70_000)


def test_an_ordinary_user_suffices(database: Settings, load_data: bool) -> None:
    """The user may do everything in this database but nothing on the server. MySQL then hides most warnings."""
    with Connection(database, database=False) as connection:
        connection.execute("create_database")
    execute(database, f"CREATE USER {database.mysql_database}@'%' IDENTIFIED BY 'secret'")
    try:
        execute(database, f"GRANT ALL ON {database.mysql_database}.* TO {database.mysql_database}@'%'")
        user = msgspec.structs.replace(database, mysql_user=database.mysql_database, mysql_password="secret")
        schema.prepare(user)
        values = [numbered(n) for n in range(1500)]
        assert commit(user, batch_of(values), load_data=load_data).stored == 1500
        execute(database, "ALTER TABLE orders ADD CONSTRAINT no_thirteen CHECK (customer_id <> 13)")
        more = [numbered(1499, customer_id="7"), numbered(1501, customer_id="13"), numbered(1502)]
        assert commit(user, batch_of([*values, *more], 1500), load_data=load_data) == Committed(
            stored=1,
            duplicates=1500,
            quarantined=Counter({Reason.CONFLICT: 1, Reason.REFUSED_BY_DATABASE: 1}),
        )
        assert_consistent(database)
    finally:
        execute(database, f"DROP USER {database.mysql_database}@'%'")


# Contention and ended sessions.


def test_a_transaction_is_retried_after_a_deadlock(store: Settings, load_data: bool) -> None:
    commit(store, batch_of([numbered(0)]))
    with raw_session(store) as other, ThreadPoolExecutor(1) as pool:
        cursor = other.cursor()
        # More rows than the writer has, so that the server rolls back the writer's transaction and not this one.
        rows = ", ".join(f"(1, 'ORDER-{n:06}', 'a', 'b', 1, 1, 1, '2025-01-15')" for n in range(1, 200))
        cursor.execute(f"INSERT INTO orders VALUES {rows}")
        committed = pool.submit(commit, store, batch_of([numbered(1), numbered(2), b"{"], 1), load_data=load_data)
        until(lambda: bool(select(store, "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")))
        cursor.execute("SELECT next_offset FROM orders_ledger FOR UPDATE")
        assert cursor.fetchall() == [(1,)]
        other.rollback()
        assert committed.result(60) == Committed(stored=2, quarantined=Counter({Reason.MALFORMED_JSON: 1}))
    assert_consistent(store)


def test_writers_that_store_each_others_duplicates_in_opposite_order_both_finish(
    store: Settings, load_data: bool
) -> None:
    values = [numbered(n) for n in range(400)]
    start = threading.Barrier(2)

    def work(partition: int) -> Committed:
        ordered = values if partition == 0 else values[::-1]
        with Writer(store, TOPIC) as writer:
            writer.uses_load_data = load_data
            start.wait()
            results = [writer.commit(batch_of(ordered[at : at + 200], at, partition)) for at in (0, 200)]
        return Committed(sum(result.stored for result in results), sum(result.duplicates for result in results))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, range(2))
    assert first.stored + second.stored == first.duplicates + second.duplicates == 400
    assert_consistent(store)


# Several partitions in one transaction, and transactions that overlap.


def test_a_batch_of_several_partitions_is_one_transaction(store: Settings, load_data: bool) -> None:
    commit(store, batch_of([numbered(0), b"{"], 0, 1), load_data=load_data)
    first = batch_of([numbered(9), numbered(2), b"?", numbered(5, customer_id="7")])
    second = batch_of([b"{", numbered(5), numbered(9), numbered(4), numbered(3, coupon="1")], 1, 1)
    committed = commit(store, interleaved(first, second, batch_of([numbered(1)], 0, 4)), load_data=load_data)
    assert committed == Committed(
        stored=6,
        duplicates=1,
        quarantined=Counter({Reason.MALFORMED_JSON: 1, Reason.CONFLICT: 1}),
        unknown_fields=Counter(coupon=1),
    )
    stored = select(store, "SELECT order_id, kafka_partition, kafka_offset FROM orders ORDER BY order_id")
    assert stored == [
        ("ORDER-000000", 1, 0),
        ("ORDER-000001", 4, 0),
        ("ORDER-000002", 0, 1),
        ("ORDER-000003", 1, 5),
        ("ORDER-000004", 1, 4),
        ("ORDER-000005", 1, 2),  # stored before the other record of the id
        ("ORDER-000009", 0, 0),
    ]
    quarantined = select(store, "SELECT kafka_partition, kafka_offset, reason, record_value FROM orders_quarantine")
    assert sorted(quarantined) == [
        (0, 2, "malformed_json", b"?"),
        (0, 3, "conflict", numbered(5, customer_id="7")),
        (1, 1, "malformed_json", b"{"),
    ]
    positions = (
        "SELECT kafka_partition, next_offset, `stored`, duplicates, quarantined, unknown_fields FROM orders_ledger"
    )
    assert select(store, f"{positions} ORDER BY 1") == [(0, 4, 2, 0, 2, 0), (1, 6, 4, 1, 1, 1), (4, 1, 1, 0, 0, 0)]
    assert_consistent(store)


def commit_in_turns(
    settings: Settings, *batches: RecordBatch, source: Topic = TOPIC, load_data: bool = True
) -> list[Committed | OrderFlowError]:
    """Commit each batch with its own writer. All start together; return the results."""
    tickets = [CommitTicket()]
    for _ in batches[1:]:
        tickets.append(CommitTicket(tickets[-1]))
    start = threading.Barrier(len(batches))

    def work(batch: RecordBatch, ticket: CommitTicket) -> Committed | OrderFlowError:
        try:
            with ticket, Writer(settings, source) as writer:
                writer.uses_load_data = load_data
                start.wait()
                return writer.commit(batch, ticket)
        except OrderFlowError as error:
            return error

    with ThreadPoolExecutor(len(batches)) as pool:
        return list(pool.map(work, batches, tickets))


def test_a_batch_is_written_while_its_predecessor_is_committed(store: Settings) -> None:
    commit(store, batch_of([numbered(0)]))
    with raw_session(store) as other, Writer(store, TOPIC) as first_writer, Writer(store, TOPIC) as second_writer:
        other.cursor().execute("INSERT INTO orders VALUES (1, 'ORDER-000001', 'a', 'b', 1, 1, 1, '2025-01-15')")
        first, second = (predecessor := CommitTicket()), CommitTicket(predecessor)
        with ThreadPoolExecutor(2) as pool:
            first_result = pool.submit(_in_turn, first_writer, batch_of([numbered(1)], 1), first)
            second_result = pool.submit(_in_turn, second_writer, batch_of([numbered(2)], 2), second)
            # The second transaction has inserted its rows, and waits for the first one's lock on the ledger.
            waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
            until(lambda: select(store, waiting) == [(2,)])
            with raw_session(store) as reader, reader.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
                cursor.execute("SELECT order_id FROM orders ORDER BY 1")
                assert ("ORDER-000002",) in cursor.fetchall()
            assert select(store, "SELECT COUNT(*) FROM orders") == [(1,)]
            other.rollback()
            assert first_result.result(60) == second_result.result(60) == Committed(stored=1)
    assert select(store, "SELECT next_offset, `stored` FROM orders_ledger") == [(3, 3)]
    assert_consistent(store)


def _in_turn(writer: Writer, batch: RecordBatch, ticket: CommitTicket) -> Committed:
    with ticket:
        return writer.commit(batch, ticket)


def test_consecutive_batches_with_the_same_orders_all_finish(store: Settings, load_data: bool) -> None:
    """Each batch needs keys that the next one has already inserted. The server resolves the deadlocks."""
    numbers = [*range(300), *range(299, -1, -1), *range(150, 450), *range(300)]
    batches = [batch_of([numbered(n) for n in numbers[start : start + 100]], start) for start in range(0, 1200, 100)]
    # A batch that locks the ledger before its predecessor must find the records between them.
    source = TOPIC._replace(records=frozenset((0, offset) for offset in range(1200)))
    results = commit_in_turns(store, *batches, source=source, load_data=load_data)
    assert sum(result.stored for result in results if isinstance(result, Committed)) == 450
    assert sum(result.duplicates for result in results if isinstance(result, Committed)) == 750
    assert select(store, "SELECT next_offset, `stored`, duplicates FROM orders_ledger") == [(1200, 450, 750)]
    assert_consistent(store)


@pytest.mark.parametrize(
    "second", [batch_of([numbered(3)], 2), batch_of([numbered(1), numbered(3)], 0), batch_of([b"?"], 0, 7)]
)
def test_a_batch_that_does_not_follow_its_predecessor_is_written_again(store: Settings, second: RecordBatch) -> None:
    """The next batch follows a gap without records, overlaps, or has a partition that is not in the ledger."""
    results = commit_in_turns(store, batch_of([numbered(1)]), second)
    # If two batches overlap, either of them may be committed first.
    assert sum(result.stored + result.quarantined.total() for result in results if isinstance(result, Committed)) == 2
    assert select(store, "SELECT SUM(`stored` + quarantined) FROM orders_ledger") == [(2,)]


def test_nothing_is_stored_after_a_batch_that_fails(store: Settings) -> None:
    source = TOPIC._replace(records=frozenset({(0, 0), (0, 2)}))
    first, last = commit_in_turns(store, batch_of([numbered(1)], 1), batch_of([numbered(2)], 2), source=source)
    assert isinstance(first, LedgerGap) and isinstance(last, LedgerGap)
    assert "partition 0 starts at offset 2, but the ledger is at" in last.message
    assert select(store, "SELECT COUNT(*) FROM orders") == [(0,)]


def test_a_transaction_is_retried_after_a_lock_timeout(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(store, batch_of([numbered(0)]))
    waits: list[float] = []
    with raw_session(store) as other:
        other.cursor().execute("UPDATE orders_ledger SET duplicates = 1")

        def wait(seconds: float) -> None:
            waits.append(seconds)
            other.rollback()

        clock = SimpleNamespace(sleep=wait, perf_counter=time.perf_counter)
        monkeypatch.setattr(writer_module, "time", clock)
        with Writer(store, TOPIC, lock_wait=1) as writer:
            assert writer.commit(batch_of([numbered(1)], 1)).stored == 1
    assert len(waits) == 1
    assert_consistent(store)


def test_a_transaction_reads_what_others_have_committed_meanwhile(store: Settings) -> None:
    """READ COMMITTED: a duplicate is compared with the row that has its key now, not with an older snapshot."""
    with Connection(store) as connection:
        assert not orders.find_by_order_id(connection, ["ORDER-000001"])
        commit(store, batch_of([numbered(1)]))
        assert orders.find_by_order_id(connection, ["ORDER-000001"])


def test_endless_contention_is_reported(store: Settings) -> None:
    commit(store, batch_of([numbered(0)]))
    with raw_session(store) as other:
        other.cursor().execute("UPDATE orders_ledger SET duplicates = 1")
        with (
            Writer(store, TOPIC, lock_wait=1, max_attempts=2) as writer,
            pytest.raises(Contention, match="orders-0 offsets 1 to 1: 2 transactions"),
        ):
            writer.commit(batch_of([numbered(1)], 1))
    assert_consistent(store)


def test_a_session_killed_before_any_statement_leaves_nothing(
    store: Settings, load_data: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Covers each statement of a batch with every kind of record, including COMMIT."""
    values = [numbered(1), numbered(2), numbered(2), numbered(0), numbered(1, customer_id="5"), b"{", numbered(3)]
    commit(store, batch_of([numbered(0)]))
    before = contents(store)
    statements: list[str] = []
    fatal = 0
    original_execute, original_commit = Connection.execute, Connection.commit

    def reach(statement: str) -> None:
        statements.append(statement)
        if len(statements) == fatal:
            sessions = f"SELECT id FROM information_schema.processlist WHERE db = '{store.mysql_database}'"
            [(session,)] = select(store, f"{sessions} AND id <> CONNECTION_ID()")
            execute(store, f"KILL {session}")
            until(lambda: not select(store, f"{sessions} AND id = {session}"))

    def execute_reached(self: Connection, statement: str, *args: Any, **placeholders: str) -> Any:
        reach(statement)
        return original_execute(self, statement, *args, **placeholders)

    def commit_reached(self: Connection) -> None:
        reach("commit")
        original_commit(self)

    monkeypatch.setattr(Connection, "execute", execute_reached)
    monkeypatch.setattr(Connection, "commit", commit_reached)
    for number in itertools.count(1):
        with Writer(store, TOPIC) as writer:
            writer.uses_load_data = load_data
            statements.clear()
            fatal = number
            with pytest.raises(DatabaseUnavailable):
                writer.commit(batch_of(values, 1))
        fatal = 0
        assert contents(store) == before, statements[-1]
        if statements[-1] == "commit":
            break
    assert len(statements) > 5
    monkeypatch.undo()
    assert commit(store, batch_of(values, 1), load_data=load_data) == Committed(
        3, 2, Counter({Reason.CONFLICT: 1, Reason.MALFORMED_JSON: 1})
    )
    assert_consistent(store)


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
def test_a_stopped_server_is_unavailable_until_it_restarts(kind: Any, server_folder: Path, tmp_path: Path) -> None:
    if kind == "mysql" and not (packages.available() or shutil.which("mysqld") or os.environ.get("CI")):
        pytest.skip("no genuine MySQL")
    server = Database(server_folder / tmp_path.name, free_port(), kind)
    store = Settings(mysql_host="127.0.0.1", mysql_port=server.port, mysql_password=server.password)
    with running(server):
        schema.prepare(store)
        with Writer(store, TOPIC) as writer:
            assert writer.commit(batch_of([numbered(1)])).stored == 1
            server.kill()
            with pytest.raises(DatabaseUnavailable, match=f"127.0.0.1:{server.port}"):
                writer.commit(batch_of([numbered(2)], 1))
        with pytest.raises(DatabaseUnavailable):
            Writer(store, TOPIC)
        with pytest.raises(DatabaseUnavailable):
            schema.prepare(store)
    with running(server):
        assert commit(store, batch_of([numbered(1), numbered(2)])).stored == 1
        assert_consistent(store)


def test_a_topic_of_garbage_stops_the_sink_before_it_fills_the_disk(store: Settings) -> None:
    with Writer(store, TOPIC) as writer:
        assert writer.commit(batch_of([b"garbage"] * 999)).quarantined.total() == 999
        with pytest.raises(TooManyRejected, match="1,000 of the last 1,000 records of orders are no orders"):
            writer.commit(batch_of([b"garbage"], 999))
    assert select(store, "SELECT next_offset, quarantined FROM orders_ledger") == [(1000, 1000)]
    tolerant = msgspec.structs.replace(store, quarantine_max_share=1.0)
    with Writer(tolerant, TOPIC) as writer:
        writer.commit(batch_of([b"garbage"] * 2000, 1000))
    assert_consistent(store)


def test_only_the_last_records_count_toward_the_limit_of_rejected_ones(store: Settings) -> None:
    with Writer(store, TOPIC, window_records=2_000) as writer:
        writer.commit(batch_of([numbered(number) for number in range(1, 3_001)]))
        writer.commit(batch_of([b"garbage"] * 1_700, 3_000))
        with pytest.raises(TooManyRejected, match="1,850 of the last 2,000"):
            writer.commit(batch_of([b"garbage"] * 1_000, 4_700))
