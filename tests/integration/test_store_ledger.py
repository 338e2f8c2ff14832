"""The ledger: each record counts once, and a gap, another topic or a second sink is noticed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random

import msgspec
import pytest

from orderflow.errors import LedgerGap, OffsetsLost, TopicRecreated
from orderflow.settings import Settings
from orderflow.store import ledger, quarantine, schema
from orderflow.store.commit_result import CommitResult
from orderflow.store.connection import Connection
from orderflow.store.replay import Replayer
from orderflow.store.writer import Writer
from tests.support.corpus import numbered
from tests.support.feeder import PRODUCED, TOPIC, Topic, batch_of, commit, interleaved
from tests.support.processes import until
from tests.support.sql import select
from tests.support.tables import assert_consistent, contents

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
        assert first.commit(batch_of(MIXED)) == second.commit(batch_of(MIXED)) == CommitResult()
        assert first.commit(batch_of([])) == CommitResult()
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
    topic_reader = Topic(frozenset({(0, 4), (1, 7), (0, 10)}))
    commit(store, batch_of([numbered(n) for n in range(5)]), topic_reader)
    assert commit(store, batch_of([numbered(10)], 10), topic_reader).stored == 1
    assert select(store, "SELECT next_offset, `stored` FROM orders_ledger") == [(11, 6)]


def test_a_gap_with_records_is_refused(store: Settings) -> None:
    topic_reader = Topic(frozenset({(0, 9)}))
    commit(store, batch_of([numbered(n) for n in range(5)]), topic_reader)
    before = contents(store)
    with pytest.raises(LedgerGap, match=r"orders partition 0 starts at offset 10, but the ledger's next offset is 5\."):
        commit(store, batch_of([numbered(10), b"{"], 10), topic_reader)
    assert contents(store) == before
    assert commit(store, batch_of([numbered(9), numbered(10)], 9), topic_reader).stored == 2


def test_a_new_partition_begins_at_the_first_offset_of_the_topic(store: Settings) -> None:
    topic_reader = Topic(frozenset({(0, 100), (0, 101)}), first=100)
    with pytest.raises(LedgerGap):
        commit(store, batch_of([numbered(1)], 101), topic_reader)
    assert commit(store, batch_of([numbered(0), numbered(1)], 100), topic_reader).stored == 2
    assert select(store, "SELECT first_offset, next_offset FROM orders_ledger") == [(100, 102)]
    assert_consistent(store)


def test_a_recreated_topic_is_refused(store: Settings) -> None:
    commit(store, batch_of([numbered(1)]))
    before = contents(store)
    with pytest.raises(TopicRecreated, match="second"):
        commit(store, batch_of([numbered(2)], 1), Topic(topic_id="second"))
    with Connection(store) as connection, pytest.raises(TopicRecreated):
        ledger.ensure_partitions(connection, "orders", "second", {0: 0})
    assert contents(store) == before
    assert commit(store, batch_of([numbered(2)]), Topic(topic="other", topic_id="second")).stored == 1


def test_positions_are_read_from_the_ledger(store: Settings) -> None:
    with Connection(store) as connection:
        assert ledger.ensure_partitions(connection, "orders", "first", {0: 0, 1: 5}) == {0: 0, 1: 5}
        commit(store, batch_of([numbered(1), b"{"]))
        assert ledger.ensure_partitions(connection, "orders", "first", {0: 0, 1: 0, 2: 0}) == {0: 2, 1: 5, 2: 0}
        assert ledger.totals(ledger.read_entries(connection)) == (1, 0, 1)
        with pytest.raises(OffsetsLost, match="orders partition 0 offsets 2 to 8") as raised:
            ledger.ensure_partitions(connection, "orders", "first", {0: 9, 1: 5})
        assert "partition 1" not in raised.value.message


def test_the_ledger_has_the_last_record_of_each_partition(store: Settings) -> None:
    first = ledger.hash_record(PRODUCED, b"first")
    with Connection(store) as connection:
        assert ledger.ensure_partitions(connection, "orders", "first", {0: 0, 1: 0}) == {0: 0, 1: 0}
        assert ledger.read_last_records(connection, "orders") == {}
        commit(store, interleaved(batch_of([numbered(1), b"{"], key=b"first"), batch_of([numbered(2)], 7, partition=1)))
        assert ledger.read_last_records(connection, "orders")[0] == (1, first)
        commit(store, batch_of([numbered(1)], key=b"again"))  # is stored already
        ledger.accept_losses(connection, "orders", "first", {0: 30}, "ann")
        [entry] = quarantine.read_matching(connection, quarantine.QuarantineFilter())
        assert Replayer(connection).replay(entry, by="ann", corrected=numbered(3)).outcome.is_in_table
        known = {0: (1, first), 1: (7, ledger.hash_record(PRODUCED, b"key"))}
        assert ledger.read_last_records(connection, "orders") == known
        assert ledger.read_last_records(connection, "other") == {}
        commit(store, batch_of([b"{"], 30, key=None))
        assert ledger.read_last_records(connection, "orders")[0] == (30, ledger.hash_record(PRODUCED, None))


def test_the_next_sink_becomes_the_leader_when_the_session_ends(store: Settings) -> None:
    elsewhere = msgspec.structs.replace(store, kafka_topic="elsewhere")
    with Connection(store) as second:
        with Connection(store) as first, Connection(store) as third:
            assert ledger.take_leadership(first, store, 0)
            assert not ledger.take_leadership(second, store, 0)
            session_id = first.execute_text("SELECT CONNECTION_ID()").rows[0][0]
            assert ledger.leader_session_id(second, store) == session_id
            assert ledger.take_leadership(third, elsewhere, 0)
        assert ledger.take_leadership(second, store, 10)


def test_a_session_whose_machine_is_gone_keeps_no_lock(store: Settings) -> None:
    """To the server, such a session is one that stays open and sends nothing."""
    commit(store, batch_of([numbered(1)]))
    gone = Connection(store, idle_timeout=2)
    assert ledger.take_leadership(gone, store, 0)
    assert ledger.lock(gone, "orders", [0])
    with Connection(store) as standby:
        assert not ledger.take_leadership(standby, store, 0)
        assert ledger.take_leadership(standby, store, 30)
    assert commit(store, batch_of([numbered(2)], 1)).stored == 1


def test_an_idle_writer_connects_again_before_the_server_ends_its_session(store: Settings) -> None:
    with Writer(store, TOPIC, idle_timeout=2) as writer:
        assert writer.commit(batch_of([numbered(1)])).stored == 1
        session = writer.session.connection.execute_text("SELECT CONNECTION_ID()").rows[0][0]
        until(lambda: not select(store, f"SELECT 1 FROM information_schema.processlist WHERE id = {session}"))
        assert writer.commit(batch_of([numbered(2)], 1)).stored == 1
