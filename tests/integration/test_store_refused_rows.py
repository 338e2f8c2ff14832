"""Orders that the table refuses: by its constraints, triggers or columns. The others are stored."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter

import msgspec
import pytest

from orderflow.contract import exact_path
from orderflow.contract.definition import STANDARD_FIELDS, Reason
from orderflow.settings import Settings
from orderflow.store import schema
from orderflow.store.commit_result import CommitResult
from orderflow.store.connection import Connection
from orderflow.store.orders_table import CheckedTable
from orderflow.store.writer import Writer
from tests.support.corpus import numbered
from tests.support.feeder import Topic, batch_of, commit
from tests.support.sql import execute, select
from tests.support.tables import assert_consistent, delete_rows


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
def test_no_value_that_the_server_changes_is_stored(
    store: Settings, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOAD DATA LOCAL and INSERT IGNORE clamp, round and truncate values. The table must keep none of these.

    The check of the table's definition, which would stop the writer, is left out: a trigger may have these effects too.
    """
    monkeypatch.setattr(CheckedTable, "check", lambda *_: None)
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
    sent = [
        (*attrgetter(*STANDARD_FIELDS)(exact_path.decode(value)), offset) for offset, value in enumerate(values, start)
    ]
    time = "DATE_FORMAT(order_timestamp, '%Y-%m-%dT%H:%i:%s')"
    columns = ", ".join([*STANDARD_FIELDS[:-1], time, "kafka_offset"])
    with Writer(store, Topic(first=start)) as writer:
        execute(store, f"ALTER TABLE orders {change}")
        for writer.session.uses_load_data in (True, False):
            committed = writer.commit(batch_of(values, start))
            assert committed.stored + committed.quarantined[Reason.REFUSED_BY_DATABASE] == len(values)
            assert committed.stored and committed.quarantined
            assert set(select(store, f"SELECT {columns} FROM orders")) <= set(sent)
            assert_consistent(store)
            delete_rows(store)


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
        assert commit(user, batch_of([*values, *more], 1500), load_data=load_data) == CommitResult(
            stored=1,
            duplicates=1500,
            quarantined=Counter({Reason.CONFLICT: 1, Reason.REFUSED_BY_DATABASE: 1}),
        )
        assert_consistent(database)
    finally:
        execute(database, f"DROP USER {database.mysql_database}@'%'")
