"""Quarantined records on real servers: they are kept whole, replayed exactly once, or discarded with a reason."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from orderflow.contract.definition import Reason
from orderflow.errors import DatabaseUnavailable, InputInvalid, TableDrifted
from orderflow.settings import Settings
from orderflow.store import quarantine, schema
from orderflow.store.connection import Connection
from orderflow.store.migrations import LATEST
from orderflow.store.quarantine import QuarantineEntry, QuarantineFilter
from orderflow.store.replay import Replayer, ReplayOutcome, ReplayResult
from orderflow.store.writer import Writer
from tests.support.corpus import message, numbered
from tests.support.feeder import TOPIC, batch_of, commit
from tests.support.processes import until
from tests.support.sql import execute, raw_session, select, select_all
from tests.support.tables import contents, delete_rows

ANY = QuarantineFilter(status=None)


def quarantine_all(settings: Settings, values: Sequence[bytes | None], start: int = 0, partition: int = 0) -> None:
    """Quarantine these values: all sample orders are outside of the generator's ranges."""
    enforcing = msgspec.structs.replace(settings, order_ranges="enforce")
    assert commit(enforcing, batch_of(values, start, partition)).quarantined.total() == len(values)


def entries(settings: Settings, wanted: QuarantineFilter = ANY) -> list[QuarantineEntry]:
    with Connection(settings) as connection:
        return list(quarantine.read_matching(connection, wanted))


def replay_all(settings: Settings, wanted: QuarantineFilter = ANY, **options: Any) -> list[ReplayResult]:
    with Connection(settings) as connection:
        matching = quarantine.read_matching(connection, wanted)
        replayer = Replayer(connection)
        return [replayer.replay(entry, by="ann@desk", **options) for entry in matching]


def everything(settings: Settings) -> list[Any]:
    """Return all tables without the times of the transactions."""
    resolved = "SELECT quarantine_id, resolved_by, resolved_because, corrected_value FROM orders_quarantine ORDER BY 1"
    return [*contents(settings), select_all(settings, resolved)]


def assert_consistent(settings: Settings) -> None:
    """Check that each record is counted once, each replayed one once more, and that the rollup equals the table."""
    by_minute, counted, [(records, accounted, *ledger_totals)], [(stored, kept, replayed)] = select_all(
        settings,
        "SELECT * FROM orders_by_minute ORDER BY 1, 2, 3",
        "SELECT order_timestamp - INTERVAL SECOND(order_timestamp) SECOND, product_category, kafka_partition, COUNT(*),"
        " SUM(quantity), SUM(total_price) FROM orders GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        "SELECT SUM(next_offset - first_offset), SUM(`stored` + duplicates + quarantined), SUM(`stored`),"
        " SUM(quarantined) FROM orders_ledger",
        "SELECT (SELECT COUNT(*) FROM orders), COUNT(*), SUM(status = 'replayed') FROM orders_quarantine",
    )
    assert by_minute == counted
    assert accounted == records + replayed
    assert ledger_totals == [stored, kept]


# Replay.


def test_a_replayed_record_keeps_its_original_coordinates(store: Settings) -> None:
    repeat, other = numbered(1), numbered(1, customer_id="5")
    quarantine_all(store, [numbered(1), b"{", repeat, other, numbered(2)], start=0, partition=3)
    assert [result.outcome for result in replay_all(store)] == [
        "stored",
        "rejected",
        "duplicate",
        "conflict",
        "stored",
    ]
    assert select(
        store, "SELECT order_id, kafka_partition, kafka_offset, DATE_FORMAT(produced_at, '%T.%f') FROM orders"
    ) == [("ORDER-000001", 3, 0, "14:30:45.123000"), ("ORDER-000002", 3, 4, "14:30:45.123000")]
    assert [(entry.status, entry.reason, entry.resolved_by) for entry in entries(store)] == [
        ("replayed", "outside_ranges", "ann@desk"),
        ("open", "malformed_json", None),
        ("replayed", "outside_ranges", "ann@desk"),
        ("open", "conflict", None),
        ("replayed", "outside_ranges", "ann@desk"),
    ]
    assert "customer_id is '87654' in the table and '5' in this record" in entries(store)[3].detail
    assert select(store, "SELECT next_offset, `stored`, duplicates, quarantined FROM orders_ledger") == [(5, 2, 1, 5)]
    assert_consistent(store)


def test_a_repeated_replay_changes_nothing(store: Settings) -> None:
    quarantine_all(store, [numbered(1), b"{", numbered(1), numbered(1, customer_id="5")])
    replay_all(store)
    before = everything(store)
    assert [result.outcome for result in replay_all(store)] == [
        "replayed before",
        "rejected",
        "replayed before",
        "conflict",
    ]
    assert everything(store) == before


def test_the_current_contract_decides(store: Settings) -> None:
    quarantine_all(store, [numbered(1)])
    enforcing = msgspec.structs.replace(store, order_ranges="enforce")
    [result] = replay_all(enforcing)
    assert result.outcome is ReplayOutcome.REJECTED and result.detail.startswith("outside_ranges: ")
    execute(store, "ALTER TABLE orders ADD CONSTRAINT no_more CHECK (customer_id <> 87654)")
    before = everything(store)
    [result] = replay_all(store)
    assert result.outcome is ReplayOutcome.REJECTED and result.detail.startswith("refused_by_database: ")
    assert everything(store) == before


def test_a_dry_run_changes_nothing(store: Settings) -> None:
    commit(store, batch_of([numbered(1), numbered(2)]))
    quarantine_all(store, [numbered(1), numbered(2, customer_id="5"), numbered(3), None], start=2)
    before = everything(store)
    outcomes = [result.outcome for result in replay_all(store, dry_run=True)]
    assert outcomes == ["duplicate", "conflict", "stored", "rejected"]
    assert everything(store) == before


def test_a_record_without_a_time_becomes_an_order_without_one(store: Settings) -> None:
    enforcing = msgspec.structs.replace(store, order_ranges="enforce")
    commit(enforcing, batch_of([numbered(1)])._replace(timestamps=[-1]))
    replay_all(store)
    assert select(store, "SELECT produced_at, kafka_offset FROM orders") == [(None, 0)]


def test_a_corrected_value_is_stored_and_the_original_is_kept(store: Settings) -> None:
    quarantine_all(store, [b"\xff{", b"{"])
    first, second = entries(store)
    with Connection(store) as connection:

        def correct(entry: QuarantineEntry, value: bytes) -> ReplayOutcome:
            return Replayer(connection).replay(entry, by="ann@desk", corrected=value).outcome

        assert correct(first, b"{}") is ReplayOutcome.REJECTED
        assert correct(first, numbered(7)) is ReplayOutcome.STORED
        assert correct(first, numbered(8)) is ReplayOutcome.REPLAYED_BEFORE
        before = everything(store)
        assert correct(second, numbered(7, customer_id="5")) is ReplayOutcome.CONFLICT
        assert everything(store) == before, "a correction that conflicts leaves the record as it was"
        [entry, _] = entries(store)
        content = quarantine.read_content(connection, entry)
    assert (content.value, content.corrected) == (b"\xff{", numbered(7))
    assert (entry.status, entry.resolved_by) == ("replayed", "ann@desk")
    assert entry.resolved_at and abs(entry.resolved_at - entry.quarantined_at) < timedelta(minutes=5)
    assert select(store, "SELECT order_id, kafka_offset FROM orders") == [("ORDER-000007", 0)]
    assert_consistent(store)


def test_a_record_of_an_unknown_partition_is_refused(store: Settings) -> None:
    quarantine_all(store, [numbered(1)])
    execute(store, "DELETE FROM orders_ledger")
    with pytest.raises(InputInvalid, match="Record 1 is of orders partition 0"):
        replay_all(store)
    assert select(store, "SELECT COUNT(*) FROM orders") == [(0,)]


def test_nothing_is_replayed_into_a_column_that_would_change_it(store: Settings) -> None:
    """A server writes to FLOAT without a warning."""
    quarantine_all(store, [numbered(1)])
    [entry] = entries(store)
    with Connection(store) as connection:
        replayer = Replayer(connection)
        execute(store, "ALTER TABLE orders MODIFY unit_price FLOAT NOT NULL")
        with pytest.raises(TableDrifted, match="unit_price"):
            replayer.replay(entry, by="ann@desk")
    assert select(store, "SELECT COUNT(*) FROM orders") == [(0,)]


def test_a_session_killed_before_any_statement_changes_no_record(
    store: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantine_all(store, [numbered(1)])
    before = everything(store)
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

    [entry] = entries(store)
    monkeypatch.setattr(Connection, "execute", execute_reached)
    monkeypatch.setattr(Connection, "commit", commit_reached)
    for number in itertools.count(1):
        with Connection(store) as connection:
            statements.clear()
            fatal = number
            with pytest.raises(DatabaseUnavailable):
                Replayer(connection).replay(entry, by="ann@desk")
        fatal = 0
        assert everything(store) == before, statements[-1]
        if statements[-1] == "commit":
            break
    assert {"lock_ledger", "lock_quarantine", "insert_orders", "add_by_minute", "resolve_replayed"} < {*statements}
    monkeypatch.undo()
    assert [result.outcome for result in replay_all(store)] == ["stored"]
    assert_consistent(store)


def test_a_commit_whose_reply_was_lost_counts_once(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine_all(store, [numbered(1)])
    original_commit = Connection.commit

    def commit_and_fail(self: Connection) -> None:
        original_commit(self)
        raise DatabaseUnavailable("the reply is lost")

    monkeypatch.setattr(Connection, "commit", commit_and_fail)
    with pytest.raises(DatabaseUnavailable):
        replay_all(store)
    monkeypatch.undo()
    assert [result.outcome for result in replay_all(store)] == ["replayed before"]
    assert_consistent(store)


def test_two_replays_at_once_store_each_record_once(store: Settings) -> None:
    values = [numbered(n // 2 if n % 3 else n) for n in range(60)]
    for partition in range(2):
        quarantine_all(store, values, partition=partition)
    listed = entries(store)

    def work(backwards: bool) -> list[str]:
        with Connection(store) as connection:
            ordered = reversed(listed) if backwards else iter(listed)
            return [Replayer(connection).replay(entry, by="ann@desk").outcome for entry in ordered]

    with ThreadPoolExecutor(3) as pool:
        results = Counter(itertools.chain.from_iterable(pool.map(work, [True, False, False])))
    ids = len({*values})
    assert results == {"stored": ids, "duplicate": 120 - ids, "replayed before": 240}
    assert {entry.status for entry in entries(store)} == {"replayed"}
    assert select(store, "SELECT SUM(`stored`), SUM(duplicates) FROM orders_ledger") == [(ids, 120 - ids)]
    assert_consistent(store)


@contextmanager
def waiting_behind(settings: Settings, statement: str) -> Iterator[tuple[Any, Any]]:
    """Yield a session that holds the statement's locks, and a replay of record 1 that waits for them."""
    [entry, *_] = entries(settings)
    with Connection(settings) as connection, ThreadPoolExecutor(1) as pool, raw_session(settings) as other:
        cursor = other.cursor()
        cursor.execute(statement)
        if cursor.description:
            cursor.fetchall()
        future = pool.submit(Replayer(connection).replay, entry, by="ann@desk")
        waits = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        until(lambda: bool(select(settings, waits)))
        yield other, future


@pytest.mark.parametrize(
    ("customer", "end", "outcome"),
    [("87654", "commit", "duplicate"), ("5", "commit", "conflict"), ("5", "rollback", "stored")],
)
def test_a_replay_waits_for_a_transaction_that_stores_the_same_order(
    store: Settings, customer: str, end: str, outcome: str
) -> None:
    quarantine_all(store, [numbered(1)])
    values = f"({customer}, 'ORDER-000001', 'Yoga Mat', 'Sports & Outdoors', 45.99, 2, 91.98, '2025-01-15 14:30:45')"
    with waiting_behind(store, f"INSERT INTO orders VALUES {values}") as (other, future):
        getattr(other, end)()
        assert future.result(60).outcome == outcome
    assert len(select(store, "SELECT 1 FROM orders")) == 1


def test_a_replay_that_waits_for_the_sink_does_not_block_it(store: Settings) -> None:
    quarantine_all(store, [numbered(1)])
    with waiting_behind(store, "SELECT next_offset FROM orders_ledger FOR UPDATE") as (other, future):
        # While the replay waits, it holds no lock that the sink needs.
        with raw_session(store) as third:
            cursor = third.cursor()
            cursor.execute("SELECT status FROM orders_quarantine FOR UPDATE NOWAIT")
            assert cursor.fetchall() == [("open",)]
            third.rollback()
        other.rollback()
        assert future.result(60).outcome == "stored"


def test_a_record_discarded_meanwhile_is_not_stored(store: Settings) -> None:
    quarantine_all(store, [numbered(1)])
    with waiting_behind(store, "UPDATE orders_quarantine SET status = 'discarded'") as (other, future):
        other.commit()
        assert future.result(60).outcome == "discarded before"
    assert select(store, "SELECT COUNT(*) FROM orders") == [(0,)]


def test_replays_and_a_sink_store_the_same_orders_once(store: Settings) -> None:
    values = [numbered(n) for n in range(100)]
    quarantine_all(store, values)

    def sink() -> None:
        with Writer(store, TOPIC) as writer:
            for start in range(0, 100, 10):
                writer.commit(batch_of(values[start : start + 10][::-1], start, partition=1))

    with ThreadPoolExecutor(2) as pool:
        storing = pool.submit(sink)
        results = Counter(result.outcome for result in replay_all(store))
        storing.result(60)
    assert results[ReplayOutcome.STORED] + results[ReplayOutcome.DUPLICATE] == 100
    [(stored, duplicates)] = select(store, "SELECT SUM(`stored`), SUM(duplicates) FROM orders_ledger")
    assert (stored, duplicates) == (100, 100)
    assert_consistent(store)


# List and discard.


def test_filters_select_the_matching_records(store: Settings) -> None:
    quarantine_all(store, [numbered(1), b"{", None])
    commit(store, batch_of([numbered(4), numbered(4, customer_id="5")], partition=1))
    replay_all(store, QuarantineFilter(reason=Reason.OUTSIDE_RANGES))
    [*_, last] = entries(store)
    execute(
        store, f"UPDATE orders_quarantine SET quarantined_at = '2025-01-15 12:00:00' WHERE quarantine_id = {last[0]}"
    )
    noon, second = datetime(2025, 1, 15, 12), timedelta(seconds=1)  # noqa: DTZ001
    for wanted, positions in {
        QuarantineFilter(): [1, 2, 4],
        QuarantineFilter(status=None): [0, 1, 2, 4],
        QuarantineFilter(status="replayed"): [0],
        QuarantineFilter(status="discarded"): [],
        QuarantineFilter(reason="null_value"): [2],
        QuarantineFilter(partition=1): [4],
        QuarantineFilter(partition=7): [],
        QuarantineFilter(since=noon): [1, 2, 4],
        QuarantineFilter(since=noon + second): [1, 2],
        QuarantineFilter(until=noon): [],
        QuarantineFilter(until=noon + second): [4],
        QuarantineFilter(order_id="ORDER-000004"): [4],
        QuarantineFilter(status=None, order_id="ORDER-000001"): [],
        QuarantineFilter(reason="conflict", partition=0): [],
    }.items():
        listed = entries(store, wanted)
        assert [entry.offset + 3 * entry.partition for entry in listed] == positions, wanted
        with Connection(store) as connection:
            assert quarantine.count(connection, wanted) == len(positions)


def test_entries_of_all_pages_are_read(store: Settings) -> None:
    commit(msgspec.structs.replace(store, quarantine_max_share=1.0), batch_of([b"{"] * 2500))
    listed = entries(store)
    assert [entry.offset for entry in listed] == list(range(2500))
    ids = [entry.quarantine_id for entry in listed]
    with Connection(store) as connection:
        assert quarantine.read_by_id(connection, ids) == listed
        assert quarantine.discard(connection, ids, by="ann@desk", because="tests") == 2500


def test_a_discarded_record_is_kept_and_not_replayed(store: Settings) -> None:
    quarantine_all(store, [numbered(1), numbered(2), b"{"])
    replay_all(store, QuarantineFilter(order_id=None, reason="malformed_json"))
    first, _, third = entries(store)
    before = select_all(store, "SELECT * FROM orders", "SELECT * FROM orders_ledger")
    with Connection(store) as connection:
        ids = [first.quarantine_id, third.quarantine_id]
        assert quarantine.discard(connection, ids, by="ann@desk", because="a test of the shop") == 2
        assert quarantine.discard(connection, ids, by="bob", because="again") == 0
    assert [(entry.status, entry.resolved_by, entry.resolved_because) for entry in entries(store)] == [
        ("discarded", "ann@desk", "a test of the shop"),
        ("open", None, None),
        ("discarded", "ann@desk", "a test of the shop"),
    ]
    assert select_all(store, "SELECT * FROM orders", "SELECT * FROM orders_ledger") == before
    assert [result.outcome for result in replay_all(store)] == ["discarded before", "stored", "discarded before"]
    assert_consistent(store)


def test_an_unknown_id_is_named(store: Settings) -> None:
    quarantine_all(store, [b"{"])
    with Connection(store) as connection, pytest.raises(InputInvalid, match="no record 98, 99"):
        quarantine.read_by_id(connection, [99, 1, 98])


# Records larger than the server's packet limit.


@contextmanager
def packet_limit(settings: Settings, size: int) -> Iterator[None]:
    [(before,)] = select(settings, "SELECT @@GLOBAL.max_allowed_packet")
    execute(settings, f"SET GLOBAL max_allowed_packet = {size}")
    try:
        yield
    finally:
        execute(settings, f"SET GLOBAL max_allowed_packet = {before}")


def kept_whole(settings: Settings) -> list[tuple[bytes | None, bytes | None, Any]]:
    with Connection(settings) as connection:
        contents = [quarantine.read_content(connection, entry) for entry in quarantine.read_matching(connection, ANY)]
    return [(content.key, content.value, content.headers) for content in contents]


@pytest.mark.parametrize("load_data", [True, False])
def test_a_record_larger_than_a_packet_is_quarantined_whole(store: Settings, load_data: bool) -> None:
    """20 MB with a limit of 16 MiB, MariaDB's default. Each byte takes two in SQL."""
    large = b"'\\" * 10_000_000
    with packet_limit(store, 16 * 1024 * 1024):
        committed = commit(store, batch_of([numbered(1), large, b"{", numbered(2)]), load_data=load_data)
        assert (committed.stored, committed.quarantined) == (2, {Reason.OVERSIZED_VALUE: 1, Reason.MALFORMED_JSON: 1})
        assert kept_whole(store) == [(b"key", large, []), (b"key", b"{", [])]


def test_key_value_and_headers_of_any_size_are_kept_whole(store: Settings) -> None:
    all_bytes = bytes(range(256))
    large = [all_bytes * size for size in (1000, 1500, 2000, 9000)]
    triples: list[tuple[bytes | None, bytes | None, Any]] = [
        *((key, value, []) for key, value in itertools.product([None, b"", b"k", *large], repeat=2)),
        *((b"k", b"{", [("trace", part), ("none", None)]) for part in large),
        (large[0], None, [("a", large[1]), ("b", large[3])]),
        *[(b"k", b"'" * 100_000, [])] * 30,
    ]
    keys, values, headers = zip(*triples, strict=True)
    batch = batch_of(values)._replace(keys=keys, headers=headers)
    sizes = [1024 * 1024, 16 * 1024 * 1024]
    for size in sizes:
        with packet_limit(store, size):
            assert commit(store, batch).quarantined.total() == len(triples)
            assert kept_whole(store) == triples
        assert select(store, "SELECT COUNT(*) > 0 FROM orders_quarantine_chunks") == [(size < sizes[-1],)]
        delete_rows(store)
        execute(store, "DELETE FROM orders_quarantine_chunks")


def test_a_large_record_is_rolled_back_with_its_chunks(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Connection) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(Connection, "commit", fail)
    execute(store, "INSERT INTO orders_ledger VALUES ('orders', 0, 'first', 0, 0, 0, 0, 0, 0, UTC_TIMESTAMP())")
    with packet_limit(store, 1024 * 1024), pytest.raises(DatabaseUnavailable):
        commit(store, batch_of([b"x" * 3_000_000]))
    assert select_all(store, "SELECT 1 FROM orders_quarantine", "SELECT 1 FROM orders_quarantine_chunks") == [[], []]


def test_a_record_with_a_client_command_is_stored_unchanged(store: Settings) -> None:
    """The client's parser of scripts takes text after quotes for the command DELIMITER."""
    values = [
        b"{'note': 'the delimiter was wrong'}",
        b"'; delimiter ', x' # '",
        b"' delimiter \\ '",
        b"delimiter " * 90_000,
    ]
    started = time.monotonic()
    assert commit(store, batch_of(values)).quarantined.total() == len(values)
    assert [value for _, value, _ in kept_whole(store)] == values
    assert time.monotonic() - started < 60  # the parser's search takes many minutes


# The quarantine table of an earlier version.


def test_a_quarantine_of_the_first_version_is_extended(store: Settings) -> None:
    new = select(store, "SHOW CREATE TABLE orders_quarantine")
    later = ("resolved_because", "corrected_value", "chunks", "contract_id", "reason_contract_id")
    execute(store, f"ALTER TABLE orders_quarantine {', '.join(f'DROP COLUMN {column}' for column in later)}")
    execute(store, "DELETE FROM orders_schema")
    execute(
        store,
        "INSERT INTO orders_ledger VALUES ('orders', 0, 'first', 0, 1, 0, 0, 1, 0, UTC_TIMESTAMP())",
    )
    execute(
        store,
        "INSERT INTO orders_quarantine (topic, topic_id, kafka_partition, kafka_offset, record_value, quarantined_at,"
        " reason, detail) VALUES ('orders', 'first', 0, 0, '{', UTC_TIMESTAMP(), 'malformed_json', '')",
    )
    steps = schema.missing_steps(store)
    assert [step.description for step in steps] == [
        "migration 1 (columns resolved_because, mended_value, parts of table orders_quarantine)",
        "schema version 1",
        "migration 3 (columns corrected_value, chunks of table orders_quarantine)",
        "schema version 3",
        "migration 6 (columns contract_id of table orders_quarantine)",
        "schema version 6",
        "migration 8 (columns reason_contract_id of table orders_quarantine)",
        f"schema version {LATEST}",
    ]
    assert "ADD COLUMN mended_value" in schema.statement_of(steps[0], store)
    assert schema.prepare(store) == steps
    assert schema.missing_steps(store) == []
    assert _columns(select(store, "SHOW CREATE TABLE orders_quarantine")) == _columns(new)
    [entry] = entries(store)
    with Connection(store) as connection:
        assert Replayer(connection).replay(entry, by="ann@desk", corrected=message()).outcome is ReplayOutcome.STORED
    assert_consistent(store)


def _columns(created: list[tuple[Any, ...]]) -> list[str]:
    return [line for line in created[0][1].splitlines() if line.startswith("  `")]
