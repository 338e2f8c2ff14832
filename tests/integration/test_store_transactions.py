"""The store's transactions: several partitions, concurrent sessions, deadlocks and ended sessions."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orderflow.contract.definition import Reason
from orderflow.embedded import debian as packages
from orderflow.embedded.database import Database
from orderflow.embedded.ports import free_port
from orderflow.errors import Contention, DatabaseRefused, DatabaseUnavailable, LedgerGap, OrderFlowError, TableDrifted
from orderflow.settings import Settings
from orderflow.store import existing_orders, schema
from orderflow.store import writer as writer_module
from orderflow.store.commit_result import CommitResult
from orderflow.store.commit_ticket import CommitTicket
from orderflow.store.connection import Connection
from orderflow.store.record_batch import RecordBatch
from orderflow.store.writer import Writer
from tests.support.corpus import numbered
from tests.support.feeder import TOPIC, Topic, batch_of, commit, interleaved
from tests.support.processes import until
from tests.support.servers import running
from tests.support.sql import execute, raw_session, select
from tests.support.tables import assert_consistent, contents


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
        assert committed.result(60) == CommitResult(stored=2, quarantined=Counter({Reason.MALFORMED_JSON: 1}))
    assert_consistent(store)


def test_writers_with_the_same_orders_in_opposite_order_both_finish(store: Settings, load_data: bool) -> None:
    values = [numbered(n) for n in range(400)]
    start = threading.Barrier(2)

    def work(partition: int) -> CommitResult:
        ordered = values if partition == 0 else values[::-1]
        with Writer(store, TOPIC) as writer:
            writer.session.uses_load_data = load_data
            start.wait()
            results = [writer.commit(batch_of(ordered[at : at + 200], at, partition)) for at in (0, 200)]
        return CommitResult(sum(result.stored for result in results), sum(result.duplicates for result in results))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, range(2))
    assert first.stored + second.stored == first.duplicates + second.duplicates == 400
    assert_consistent(store)


@pytest.mark.parametrize("definition", ["unit_price FLOAT", "product_name CHAR(200)", "order_timestamp DATE"])
def test_nothing_is_stored_after_a_column_was_altered_so_that_it_would_change_orders(
    store: Settings, load_data: bool, definition: str
) -> None:
    """A server writes to FLOAT and CHAR without a warning."""
    commit(store, batch_of([numbered(0)]))
    with Writer(store, TOPIC) as writer:
        writer.session.uses_load_data = load_data
        writer.commit(batch_of([numbered(1)], 1))
        execute(store, f"ALTER TABLE orders MODIFY {definition} NOT NULL")
        with pytest.raises(TableDrifted, match=definition.split(maxsplit=1)[0]):
            writer.commit(batch_of([numbered(2)], 2))
    with pytest.raises(TableDrifted, match=definition.split(maxsplit=1)[0]):
        Writer(store, TOPIC)
    assert select(store, "SELECT COUNT(*) FROM orders") == [(2,)]
    assert select(store, "SELECT COUNT(*) FROM orders_quarantine") == [(0,)]


def test_changes_that_alter_no_order_interrupt_no_writer(store: Settings, load_data: bool) -> None:
    changes = (
        "ADD INDEX by_category (product_category)",
        "ADD COLUMN gift BOOLEAN NULL",  # as a later contract does
        "MODIFY product_category VARCHAR(200) NOT NULL, MODIFY customer_id BIGINT NOT NULL",
    )
    with Writer(store, TOPIC) as writer:
        writer.session.uses_load_data = load_data
        writer.commit(batch_of([numbered(0)]))
        for number, change in enumerate(changes, 1):
            execute(store, f"ALTER TABLE orders {change}")
            assert writer.commit(batch_of([numbered(number)], number)) == CommitResult(stored=1)
    assert select(store, "SELECT COUNT(*) FROM orders") == [(4,)]


def test_nothing_is_stored_without_a_column(store: Settings) -> None:
    commit(store, batch_of([numbered(0)]))
    with Writer(store, TOPIC) as writer:
        execute(store, "ALTER TABLE orders DROP COLUMN stored_at")
        with pytest.raises((DatabaseRefused, TableDrifted)):
            writer.commit(batch_of([numbered(1)], 1))
    assert select(store, "SELECT order_id FROM orders") == [("ORDER-000000",)]


def test_a_batch_of_several_partitions_is_one_transaction(store: Settings, load_data: bool) -> None:
    commit(store, batch_of([numbered(0), b"{"], 0, 1), load_data=load_data)
    first = batch_of([numbered(9), numbered(2), b"?", numbered(5, customer_id="7")])
    second = batch_of([b"{", numbered(5), numbered(9), numbered(4), numbered(3, coupon="1")], 1, 1)
    committed = commit(store, interleaved(first, second, batch_of([numbered(1)], 0, 4)), load_data=load_data)
    assert committed == CommitResult(
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
    settings: Settings, *batches: RecordBatch, topic_reader: Topic = TOPIC, load_data: bool = True
) -> list[CommitResult | OrderFlowError]:
    """Commit each batch with its own writer. All start together; return the results."""
    tickets = [CommitTicket()]
    for _ in batches[1:]:
        tickets.append(CommitTicket(tickets[-1]))
    start = threading.Barrier(len(batches))

    def work(batch: RecordBatch, ticket: CommitTicket) -> CommitResult | OrderFlowError:
        try:
            with ticket, Writer(settings, topic_reader) as writer:
                writer.session.uses_load_data = load_data
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
            assert first_result.result(60) == second_result.result(60) == CommitResult(stored=1)
    assert select(store, "SELECT next_offset, `stored` FROM orders_ledger") == [(3, 3)]
    assert_consistent(store)


def _in_turn(writer: Writer, batch: RecordBatch, ticket: CommitTicket) -> CommitResult:
    with ticket:
        return writer.commit(batch, ticket)


def test_consecutive_batches_with_the_same_orders_all_finish(store: Settings, load_data: bool) -> None:
    """Each batch needs keys that the next one has already inserted. The server resolves the deadlocks."""
    numbers = [*range(300), *range(299, -1, -1), *range(150, 450), *range(300)]
    batches = [batch_of([numbered(n) for n in numbers[start : start + 100]], start) for start in range(0, 1200, 100)]
    # A batch that locks the ledger before its predecessor must find the records between them.
    topic_reader = TOPIC._replace(records=frozenset((0, offset) for offset in range(1200)))
    results = commit_in_turns(store, *batches, topic_reader=topic_reader, load_data=load_data)
    assert sum(result.stored for result in results if isinstance(result, CommitResult)) == 450
    assert sum(result.duplicates for result in results if isinstance(result, CommitResult)) == 750
    assert select(store, "SELECT next_offset, `stored`, duplicates FROM orders_ledger") == [(1200, 450, 750)]
    assert_consistent(store)


@pytest.mark.parametrize(
    "second", [batch_of([numbered(3)], 2), batch_of([numbered(1), numbered(3)], 0), batch_of([b"?"], 0, 7)]
)
def test_a_batch_that_does_not_follow_its_predecessor_is_written_again(store: Settings, second: RecordBatch) -> None:
    """The next batch follows a gap without records, overlaps, or has a partition that is not in the ledger."""
    results = commit_in_turns(store, batch_of([numbered(1)]), second)
    # If two batches overlap, either of them may be committed first.
    assert (
        sum(result.stored + result.quarantined.total() for result in results if isinstance(result, CommitResult)) == 2
    )
    assert select(store, "SELECT SUM(`stored` + quarantined) FROM orders_ledger") == [(2,)]


def test_nothing_is_stored_after_a_batch_that_fails(store: Settings) -> None:
    topic_reader = TOPIC._replace(records=frozenset({(0, 0), (0, 2)}))
    first, last = commit_in_turns(
        store, batch_of([numbered(1)], 1), batch_of([numbered(2)], 2), topic_reader=topic_reader
    )
    assert isinstance(first, LedgerGap) and isinstance(last, LedgerGap)
    assert "partition 0 starts at offset 2, but the ledger's next offset is" in last.message
    assert select(store, "SELECT COUNT(*) FROM orders") == [(0,)]


def test_a_transaction_is_retried_after_a_lock_timeout(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(store, batch_of([numbered(0)]))
    waits: list[float] = []
    with raw_session(store) as other:
        other.cursor().execute("UPDATE orders_ledger SET duplicates = 1")

        def wait(seconds: float) -> None:
            waits.append(seconds)
            other.rollback()

        clock = SimpleNamespace(sleep=wait, perf_counter=time.perf_counter, monotonic=time.monotonic)
        monkeypatch.setattr(writer_module, "time", clock)
        with Writer(store, TOPIC, lock_wait=1) as writer:
            assert writer.commit(batch_of([numbered(1)], 1)).stored == 1
    assert len(waits) == 1
    assert_consistent(store)


def test_a_transaction_reads_what_others_have_committed_meanwhile(store: Settings) -> None:
    """READ COMMITTED: a duplicate is compared with the row that has its key now, not with an older snapshot."""
    with Connection(store) as connection:
        assert not existing_orders.find_by_order_id(connection, ["ORDER-000001"])
        commit(store, batch_of([numbered(1)]))
        assert existing_orders.find_by_order_id(connection, ["ORDER-000001"])


def test_endless_contention_is_reported(store: Settings) -> None:
    commit(store, batch_of([numbered(0)]))
    with raw_session(store) as other:
        other.cursor().execute("UPDATE orders_ledger SET duplicates = 1")
        with (
            Writer(store, TOPIC, lock_wait=1, max_attempts=2) as writer,
            pytest.raises(
                Contention, match=r"orders partition 0 offsets 1 to 1: 2 attempts met deadlocks .* Lock wait timeout"
            ),
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
            writer.session.uses_load_data = load_data
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
    assert commit(store, batch_of(values, 1), load_data=load_data) == CommitResult(
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
