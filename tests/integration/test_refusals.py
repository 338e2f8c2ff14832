"""Rows that a real server refuses or changes, even without a warning: each is found, and the others are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from orderflow.contract.definition import Reason
from orderflow.errors import DatabaseRefused, TooManyQuarantined, UnknownDatabaseError
from orderflow.settings import Settings
from orderflow.store import schema
from orderflow.store.commit_result import CommitResult
from orderflow.store.connection import Connection
from orderflow.store.orders_table import CheckedTable
from orderflow.store.writer import Writer
from tests.faults.proxy import Proxy
from tests.support.corpus import message, numbered
from tests.support.feeder import TOPIC, Topic, batch_of, commit, interleaved
from tests.support.sql import execute, global_variable, raw_session, select
from tests.support.tables import assert_consistent, delete_rows

THREE = {"quantity": "3", "total_price": "137.97"}  # the triggers in these tests refuse this
REFUSED = {Reason.REFUSED_BY_DATABASE: 1}


@pytest.fixture
def ordinary(store: Settings) -> Iterator[Settings]:
    """Create a user with rights on the database only. MySQL does not let this user set restricted variables."""
    name = store.mysql_database
    execute(store, f"CREATE USER {name}@'%' IDENTIFIED BY 'secret'")
    try:
        execute(store, f"GRANT ALL ON {name}.* TO {name}@'%'")
        yield msgspec.structs.replace(store, mysql_user=name, mysql_password="secret")
    finally:
        execute(store, f"DROP USER {name}@'%'")


def trigger(settings: Settings, then: str, when: str = "BEFORE", condition: str = "NEW.quantity = 3") -> None:
    body = f"IF {condition} THEN {then}; END IF"
    execute(settings, f"CREATE TRIGGER refuse {when} INSERT ON orders FOR EACH ROW {body}")


def signal(number: int, state: str = "45000") -> str:
    return f"SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'three are too many'"


def position(settings: Settings) -> list[tuple[Any, ...]]:
    return select(settings, "SELECT next_offset FROM orders_ledger")


# One order that a trigger refuses, with any error number.


NUMBERS = [31001, 1146, 1365, 1062, 1054, 1142, 1213, 1205, 3032, 1114, 1644, 3, 6000]
NUMBERS += [1148, 3948, 4166, 1197, 1705, 3230, 1153, 2006, 2013]  # of what is examined before the row


@pytest.mark.parametrize("number", NUMBERS)
def test_only_the_order_that_a_trigger_refuses_is_quarantined(store: Settings, load_data: bool, number: int) -> None:
    trigger(store, signal(number))
    values = [numbered(n, **THREE if n == 13 else {}) for n in range(20)]
    assert commit(store, batch_of(values), load_data=load_data) == CommitResult(19, quarantined=Counter(REFUSED))
    kept = select(store, "SELECT kafka_offset, reason, detail FROM orders_quarantine")
    assert kept == [(13, "refused_by_database", "three are too many")]
    assert_consistent(store)


@pytest.mark.parametrize("number", [31001, 1146, 1062])
def test_a_single_refused_order_is_quarantined(store: Settings, number: int) -> None:
    trigger(store, signal(number))
    assert commit(store, batch_of([numbered(1, **THREE)])) == CommitResult(quarantined=Counter(REFUSED))


@pytest.mark.parametrize("number", [31001, 1365])
def test_any_sqlstate_quarantines_an_order_if_others_are_accepted(
    store: Settings, load_data: bool, number: int
) -> None:
    trigger(store, signal(number, "HY000"))
    values = [numbered(1), numbered(2, **THREE), numbered(3)]
    assert commit(store, batch_of(values), load_data=load_data) == CommitResult(2, quarantined=Counter(REFUSED))


def test_a_trigger_that_fails_for_one_order_refuses_that_order(store: Settings, load_data: bool) -> None:
    trigger(store, "INSERT INTO missing VALUES (1)", "AFTER")
    values = [numbered(1), numbered(2, **THREE), numbered(3)]
    assert commit(store, batch_of(values), load_data=load_data) == CommitResult(2, quarantined=Counter(REFUSED))
    assert "missing" in select(store, "SELECT detail FROM orders_quarantine")[0][0]


def test_a_trigger_that_fails_for_every_order_quarantines_none(store: Settings, load_data: bool) -> None:
    """A duplicate in the same batch is not proof that the table accepts orders."""
    assert commit(store, batch_of([numbered(0)])).stored == 1
    trigger(store, "INSERT INTO missing VALUES (1)", "AFTER", "TRUE")
    message = r"The server accepted none of the 2 orders of orders partition 0 offsets 1 to 4: .*missing"
    with pytest.raises(UnknownDatabaseError, match=message) as raised:
        commit(store, batch_of([numbered(0), numbered(1), numbered(2), b"{"], 1), load_data=load_data)
    assert "trigger" in raised.value.hint
    assert position(store) == [(1,)] and select(store, "SELECT * FROM orders_quarantine") == []
    execute(store, "DROP TRIGGER refuse")
    assert commit(store, batch_of([numbered(0), numbered(1), numbered(2), b"{"], 1)).stored == 2
    assert_consistent(store)


@pytest.mark.parametrize(
    "change", ["DROP TABLE orders", "ALTER TABLE orders DROP COLUMN quantity", "RENAME TABLE orders TO elsewhere"]
)
def test_an_error_that_every_order_causes_quarantines_none(store: Settings, load_data: bool, change: str) -> None:
    with Writer(store, TOPIC) as writer:
        writer.session.uses_load_data = load_data
        execute(store, change)
        with pytest.raises(DatabaseRefused, match="refuses a statement"):
            writer.commit(batch_of([numbered(1), b"{"]))
    assert select(store, "SELECT * FROM orders_quarantine") == []


def test_a_revoked_privilege_quarantines_no_order(ordinary: Settings, store: Settings, load_data: bool) -> None:
    name = ordinary.mysql_database
    execute(store, f"REVOKE INSERT ON {name}.* FROM {name}@'%'")
    with Writer(ordinary, TOPIC) as writer:
        writer.session.uses_load_data = load_data
        with pytest.raises(DatabaseRefused, match="a privilege: INSERT command denied"):
            writer.commit(batch_of([numbered(1), b"{"]))


# Large rows.

KEEP = 'unknown_fields = "keep"'


@pytest.fixture
def keeping(database: Settings) -> Iterator[Settings]:
    """Tables with the column other_fields, on a server that accepts packets of 1 MiB."""
    settings = msgspec.structs.replace(database, order_contract="contract.toml", order_contract_text=KEEP)
    schema.prepare(settings)
    with global_variable(settings, "max_allowed_packet", "1048576"):
        yield settings


def large(number: int, count: int, **tokens: str) -> bytes:
    """Return an order with JSON of many characters that are escaped in SQL."""
    return numbered(number, notes="[" + ", ".join(['""'] * count) + "]", **tokens)


def test_large_rows_with_a_refused_one_fit_into_packets(keeping: Settings, load_data: bool) -> None:
    """The large rows together have 2.5 MB in SQL, and the average row is small."""
    trigger(keeping, signal(31001))
    values = [large(n, 20_000, **THREE if n == 13 else {}) for n in range(25)] + [numbered(n) for n in range(25, 200)]
    assert commit(keeping, batch_of(values), load_data=load_data) == CommitResult(199, quarantined=Counter(REFUSED))
    assert_consistent(keeping)


def test_a_row_that_no_packet_can_hold_stops_the_sink_with_the_fix(keeping: Settings) -> None:
    with pytest.raises(DatabaseRefused, match="accepts no record of this size") as refused:
        commit(keeping, batch_of([numbered(1), large(2, 250_000)]), load_data=False)
    assert "max_allowed_packet" in refused.value.hint


# Many refused orders.


@pytest.mark.parametrize("refusal", ["trigger", "constraint"])
def test_the_writer_makes_progress_if_every_second_order_is_refused(
    store: Settings, load_data: bool, refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transactions are small, with at most one round trip per refused order. The server is 1 ms away."""
    if refusal == "trigger":
        trigger(store, signal(31001))
    else:
        execute(store, "ALTER TABLE orders ADD CONSTRAINT no_three CHECK (quantity <> 3)")
    values = [numbered(n, **THREE if n % 2 else {}) for n in range(4_000)]
    round_trips = 0
    positions: list[int] = []

    def counted(original: Any) -> Any:
        def call(*arguments: Any, **others: Any) -> Any:
            nonlocal round_trips
            round_trips += 1
            return original(*arguments, **others)

        return call

    def commit_seen(self: Connection) -> None:
        original_commit(self)
        positions.append(position(store)[0][0])

    original_commit = Connection.commit
    monkeypatch.setattr(Connection, "execute", counted(Connection.execute))
    monkeypatch.setattr(Connection, "execute_each", counted(Connection.execute_each))
    with Proxy(store.mysql_port, delay=0.0005) as proxy:
        distant = msgspec.structs.replace(store, mysql_port=proxy.port)
        with Writer(distant, TOPIC) as writer:
            writer.session.uses_load_data = load_data
            monkeypatch.setattr(Connection, "commit", commit_seen)
            result = writer.commit(batch_of(values))
    assert result == CommitResult(2_000, quarantined=Counter({Reason.REFUSED_BY_DATABASE: 2_000}))
    assert round_trips < 2_500
    assert positions[-4:] == [1_000, 2_000, 3_000, 4_000]
    assert_consistent(store)


def test_small_transactions_do_not_look_for_records_between_them(store: Settings, load_data: bool) -> None:
    class Blind(Topic):
        def holds_records(self, partition: int, start: int, end: int) -> bool:
            raise AssertionError("the batch itself proves that no records are between its offsets")

    trigger(store, signal(31001))
    first = batch_of([numbered(n, **THREE if n == 700 else {}) for n in range(1_500)])
    second = batch_of([numbered(n) for n in range(2_000, 2_900)], 0, 1)
    # Transaction markers and deleted records leave gaps between offsets.
    first = first._replace(offsets=[3 * offset for offset in first.offsets])
    result = commit(store, interleaved(first, second), Blind(), load_data=load_data)
    assert result == CommitResult(2_399, quarantined=Counter(REFUSED))
    assert select(store, "SELECT kafka_partition, next_offset FROM orders_ledger ORDER BY 1") == [(0, 4498), (1, 900)]


def test_a_batch_too_large_for_the_binary_log_is_committed_in_parts(store: Settings) -> None:
    if not select(store, "SELECT @@GLOBAL.log_bin")[0][0]:
        pytest.skip("the limit exists only with a binary log")
    values = [numbered(n) for n in range(20_000)]
    with global_variable(store, "max_binlog_cache_size", "1048576"):
        assert commit(store, batch_of(values)) == CommitResult(20_000)
    assert_consistent(store)


def test_a_sink_stores_all_read_records_before_rejections_stop_it(store: Settings) -> None:
    bad = [b"garbage"] * 500
    with Writer(store, TOPIC) as writer, pytest.raises(TooManyQuarantined, match="1,000 of the last 1,110"):
        writer.commit(batch_of([*bad, *(numbered(n) for n in range(110)), *bad]))
    assert select(store, "SELECT next_offset, `stored`, quarantined FROM orders_ledger") == [(1110, 110, 1000)]
    assert_consistent(store)


# Servers that do not report everything.

ORDERS = [numbered(n) for n in range(200)]
REPEATS = [*ORDERS[:131], *(numbered(n, customer_id="5") for n in range(140, 144)), numbered(300)]
RESULT_OF_REPEATS = CommitResult(1, 131, Counter({Reason.CONFLICT: 4}))
VARIABLES_OF_KIND = {
    "mysql": {
        "transaction_read_only": "1",
        "transaction_isolation": "'SERIALIZABLE'",
        "max_execution_time": "1",
        "default_storage_engine": "'MyISAM'",
        "binlog_format": "'MIXED'",
        "character_set_filesystem": "'utf16'",
    },
    "mariadb": {
        "tx_read_only": "1",
        "tx_isolation": "'SERIALIZABLE'",
        "old_mode": "'NO_DUP_KEY_WARNINGS_WITH_IGNORE'",
        "max_statement_time": "0.0001",
        "note_verbosity": "''",
        "idle_transaction_timeout": "1",
        "check_constraint_checks": "0",
        "default_storage_engine": "'MyISAM'",
    },
}
COMMON_VARIABLES = {
    "max_error_count": "0",
    "sql_mode": "''",
    "sql_notes": "0",
    "sql_select_limit": "1",
    "sql_safe_updates": "1",
    "max_join_size": "1",
    "completion_type": "2",
    "autocommit": "0",
    "time_zone": "'-07:00'",
    "foreign_key_checks": "0",
    "unique_checks": "0",
    "innodb_lock_wait_timeout": "1",
    "lock_wait_timeout": "1",
    "net_read_timeout": "1",
    "group_concat_max_len": "4",
    "character_set_server": "'latin1'",
    "collation_server": "'latin1_german1_ci'",
    "character_set_client": "'latin1'",
    "character_set_results": "'latin1'",
    "collation_connection": "'latin1_swedish_ci'",
    "tmp_table_size": "1024",
}


def test_global_server_variables_change_no_result(
    ordinary: Settings, store: Settings, load_data: bool, subtests: pytest.Subtests
) -> None:
    kind = "mariadb" if "MariaDB" in select(store, "SELECT VERSION()")[0][0] else "mysql"
    for name, value in (COMMON_VARIABLES | VARIABLES_OF_KIND[kind]).items():
        delete_rows(store)
        with subtests.test(name), global_variable(store, name, value):
            assert schema.missing_steps(ordinary) == []
            first = batch_of([*ORDERS, message(product_name='"Ünï 🧘"', order_id='"ORDER-000999"')])
            assert commit(ordinary, first, load_data=load_data).stored == 201
            assert commit(ordinary, batch_of(REPEATS, 201), load_data=load_data) == RESULT_OF_REPEATS
        with raw_session(store) as session:  # only the next session sees the restored value
            assert session.is_connected()
        assert_consistent(store)


def test_more_duplicates_than_the_server_lists_are_found_in_the_table(
    ordinary: Settings, store: Settings, load_data: bool
) -> None:
    values = [numbered(n) for n in range(5_000)]
    with global_variable(store, "max_error_count", "0"):
        assert commit(ordinary, batch_of(values), load_data=load_data).stored == 5_000
        more = [*values, numbered(1, customer_id="5"), numbered(6_000), numbered(6_000)]
        assert commit(ordinary, batch_of(more, 5_000), load_data=load_data) == CommitResult(
            1, 5_001, Counter({Reason.CONFLICT: 1})
        )
    assert_consistent(store)


def test_a_value_is_never_rounded_if_notes_are_off(
    ordinary: Settings, store: Settings, load_data: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DECIMAL rounds with a note, which is neither a warning nor an error."""
    monkeypatch.setattr(CheckedTable, "check", lambda *_: None)  # it would stop the writer before
    with global_variable(store, "sql_notes", "0"), Writer(ordinary, TOPIC) as writer:
        writer.session.uses_load_data = load_data
        execute(store, "ALTER TABLE orders MODIFY unit_price DECIMAL(10,1) NOT NULL")
        values = [numbered(1), numbered(2, unit_price="46.0", total_price="92.00")]
        assert writer.commit(batch_of(values)) == CommitResult(1, quarantined=Counter(REFUSED))
    assert [row[0] for row in select(store, "SELECT order_id FROM orders")] == ["ORDER-000002"]
    assert "unit_price" in select(store, "SELECT detail FROM orders_quarantine")[0][0]
