"""A contract file on real servers: custom columns, changes of the contract during a run, the audit of all versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orderflow import audit
from orderflow.contract import loader
from orderflow.errors import ContractInvalid, RestartRequired, TableDrifted
from orderflow.settings import Settings
from orderflow.store import quarantine, schema, snapshot
from orderflow.store.connection import Connection
from orderflow.store.quarantine import QuarantineFilter
from orderflow.store.replay import Replayer, ReplayOutcome
from orderflow.store.writer import Writer
from tests.support.audited import counts
from tests.support.corpus import message
from tests.support.feeder import TOPIC, batch_of, commit
from tests.support.processes import run, running, until
from tests.support.records import order, send, store
from tests.support.sql import execute, raw_session, select

FIRST = """
[order_id]
key = "name"
pattern = "#[0-9]{4,10}"
[customer_id]
key = "customer.id"
type = "string"
[unit_price]
json = "string"
[total_price]
json = "string"
[order_timestamp]
key = "created_at"
format = "rfc3339"
digits = 3
[fields.currency]
type = "string"
max_length = 3
values = ["EUR", "USD"]
comment = "ISO 4217"
"""
SECOND = (
    FIRST.replace('"USD"]', '"USD", "CHF"]')
    + """
[fields.gift]
type = "boolean"
required = false
[fields.paid_at]
type = "timestamp"
format = "epoch_ms"
required = false
[fields.channel]
key = "source.channel"
type = "string"
max_length = 10
default = "web"
"""
)
THIRD = (
    SECOND.replace("max_length = 10", "max_length = 40").replace('json = "string"', 'json = "any"')
    + """
[fields.items]
type = "json"
required = false
[fields.tax]
type = "decimal"
precision = 8
scale = 4
required = false
"""
)


def with_contract(settings: Settings, text: str) -> Settings:
    return msgspec.structs.replace(settings, order_contract="contract.toml", order_contract_text=text)


def shop_order(number: int, **changed: Any) -> bytes:
    fields: dict[str, Any] = {
        "name": f"#{number}",
        "customer": {"id": f"c-{number}", "email": "ann@example.org"},
        "product_name": "Yoga Mat",
        "product_category": "Sports & Outdoors",
        "unit_price": "45.90",
        "quantity": 2,
        "total_price": "91.80",
        "created_at": "2025-01-15T14:30:45.5+02:00",
        "currency": "EUR",
    }
    return json.dumps(fields | changed).encode()


def custom_columns(settings: Settings) -> list[tuple[Any, ...]]:
    return select(
        settings,
        "SELECT column_name, column_type, is_nullable, column_comment FROM information_schema.columns"
        " WHERE table_schema = DATABASE() AND table_name = 'orders' AND ordinal_position > 8"
        " AND column_name NOT IN ('kafka_partition', 'kafka_offset', 'produced_at', 'stored_at')"
        " ORDER BY ordinal_position",
    )


@pytest.mark.parametrize("load_data", [True, False], ids=["load data", "insert"])
def test_custom_fields_are_stored_compared_and_rejected(database: Settings, load_data: bool) -> None:
    settings = with_contract(database, THIRD)
    schema.prepare(settings)
    assert schema.missing_steps(settings) == []
    full = shop_order(
        1002,
        gift=True,
        paid_at=1_736_951_445_123,
        source={"channel": "app\t\\N"},
        items=[{"sku": 'a"b', "price": 1.50}, None],
        tax=-0.0,
    )
    values = [shop_order(1001), full, full, shop_order(1001, currency="USD"), shop_order(1003, currency="GBP"), b"{}"]
    committed = commit(settings, batch_of(values), load_data=load_data)
    assert (committed.stored, committed.duplicates) == (2, 1)
    assert committed.quarantined == {"conflict": 1, "invalid_value": 1, "missing_field": 1}
    assert committed.unknown_fields == {"customer.email": 4}
    first, second = select(settings, "SELECT * FROM orders ORDER BY order_id")
    assert first[:3] == ("c-1001", "#1001", "Yoga Mat")
    assert str(first[7]) == "2025-01-15 12:30:45.500000"
    assert first[8:] == ("EUR", None, None, "web", None, None)
    assert [str(value) for value in second[8:]] == [
        *("EUR", "1", "2025-01-15 14:30:45.123000", "app\t\\N", '[{"sku":"a\\"b","price":1.5},null]', "0.0000")
    ]
    assert [str(minute) for (minute,) in select(settings, "SELECT minute FROM orders_by_minute")] == [
        "2025-01-15 12:30:00"
    ]
    [(detail,)] = select(settings, "SELECT detail FROM orders_quarantine WHERE reason = 'conflict'")
    assert detail == "#1001 is already stored, but currency is 'EUR' in the table and 'USD' in this record"


def test_three_versions_of_one_topic_are_proven(settings: Settings) -> None:
    first, second, third = (with_contract(settings, text) for text in (FIRST, SECOND, THIRD))
    send(settings, [shop_order(1001), shop_order(1002, currency="CHF"), shop_order(1003, gift=True), b"{"])
    send(settings, [shop_order(2001)], partition=1)
    store(first)
    assert custom_columns(settings) == [("currency", "varchar(3)", "YES", "ISO 4217")]
    assert counts(audit.run(first)) == (5, 3, 0, 2)
    # A repeat of a record that the first version stored without the new fields is a conflict, unless it lacks them.
    send(settings, [shop_order(1001), shop_order(1003, gift=True), shop_order(1004, currency="CHF", gift=False)])
    steps = [step.description for step in schema.missing_steps(second)]
    assert steps == ["columns gift, paid_at, channel of table orders", "contract version 2"]
    store(second)
    assert select(
        settings, "SELECT gift, channel FROM orders WHERE order_id IN ('#1001', '#1004') ORDER BY order_id"
    ) == [
        (None, None),
        (0, "web"),
    ]
    report = audit.run(second)
    assert report.is_proven, report
    send(settings, [shop_order(1005, items=[1], tax=0.0001, unit_price=45.9, total_price=91.8), shop_order(1004)])
    send(settings, [shop_order(2002, source={"channel": "x" * 40})], partition=1)
    store(third)
    assert [name for name, *_ in custom_columns(settings)] == ["currency", "gift", "paid_at", "channel", "items", "tax"]
    report = audit.run(third)
    assert report.is_proven, report
    assert select(
        settings, "SELECT kafka_partition, first_offset, contract_id FROM orders_contract_starts ORDER BY 1, 2"
    ) == [
        (0, 0, 1),
        (0, 4, 2),
        (0, 7, 3),
        (1, 0, 1),
        (1, 1, 3),
    ]
    execute(settings, "UPDATE orders SET tax = 0.0002 WHERE order_id = '#1005'")
    [finding] = audit.run(third).different
    assert "tax" in finding.description
    execute(settings, "UPDATE orders SET tax = 0.0001, channel = 'shop' WHERE order_id IN ('#1005', '#1001')")
    assert {different.order_id for different in audit.run(third).different} == {"#1001", "#1005"}


def test_a_replay_reads_by_the_current_contract(settings: Settings) -> None:
    first, second = with_contract(settings, FIRST), with_contract(settings, SECOND)
    send(settings, [shop_order(1001), shop_order(1002, currency="CHF"), shop_order(1003, currency="???")])
    store(first)
    with Connection(second) as connection:
        allowed, forbidden = quarantine.read_matching(connection, QuarantineFilter())
        with pytest.raises(RestartRequired, match="does not have the contract yet") as early:
            Replayer(connection).replay(allowed, by="ann@desk")
        assert "orderflow init" in early.value.hint
        schema.prepare(second)
        assert Replayer(connection).replay(allowed, by="ann@desk").outcome is ReplayOutcome.STORED
        assert Replayer(connection).replay(forbidden, by="ann@desk").outcome is ReplayOutcome.REJECTED
    assert select(settings, "SELECT currency, channel FROM orders WHERE order_id = '#1002'") == [("CHF", "web")]
    report = audit.run(second)
    assert report.is_proven, report
    send(settings, [shop_order(1004)])
    store(second)
    assert audit.run(second).is_proven


def test_the_reason_of_a_conflict_is_shortened_to_fit_its_column(database: Settings) -> None:
    text = "".join(f'[fields.text_{n}]\ntype = "string"\nmax_length = 4000\n' for n in range(12))
    strict, settings = with_contract(database, text.replace("4000", "3999")), with_contract(database, text)
    first, other = (message(**{f"text_{n}": json.dumps(letter * 4000) for n in range(12)}) for letter in ("a", "b"))
    schema.prepare(strict)
    assert commit(strict, batch_of([other])).quarantined == {"wrong_length": 1}
    schema.prepare(settings)
    assert commit(settings, batch_of([first, other], 1)).quarantined == {"conflict": 1}
    with Connection(settings) as connection:
        entry = next(quarantine.read_matching(connection, QuarantineFilter()))
        assert Replayer(connection).replay(entry, by="ann@desk").outcome is ReplayOutcome.CONFLICT
    [(detail, size), again] = select(settings, "SELECT detail, LENGTH(detail) FROM orders_quarantine")
    assert again == (detail, size) and size == 65_535
    assert detail.startswith("ORDER-000001 is already stored, but text_0 is 'aaa") and detail.endswith("…")


def replay_open_record(settings: Settings, corrected: bytes | None = None) -> ReplayOutcome:
    """Replay the only open record by this contract. The audit must prove the tables afterwards."""
    schema.prepare(settings)
    with Connection(settings) as connection:
        [entry] = quarantine.read_matching(connection, QuarantineFilter())
        outcome = Replayer(connection).replay(entry, by="ann@desk", corrected=corrected).outcome
    assert audit.run(settings).is_proven
    return outcome


def test_a_conflict_that_a_replay_finds_by_a_later_contract_is_proven(settings: Settings) -> None:
    first, second = with_contract(settings, FIRST), with_contract(settings, SECOND)
    send(settings, [shop_order(1001), shop_order(1001, currency="CHF")])
    store(first)
    assert replay_open_record(second) is ReplayOutcome.CONFLICT
    assert replay_open_record(second, corrected=shop_order(1005)) is ReplayOutcome.STORED
    execute(settings, "UPDATE orders_quarantine SET reason_contract_id = NULL")
    [finding] = audit.run(second).quarantine
    assert finding.description.endswith("for conflict, but the contract rejects it for invalid_value")


def test_a_conflict_of_one_contract_that_another_one_stores_is_proven(settings: Settings) -> None:
    """The reason and the resolution are each read by the contract of their time."""
    first, second = with_contract(settings, FIRST), with_contract(settings, SECOND)
    third = with_contract(settings, SECOND.replace('key = "name"', 'key = "reference"'))
    send(settings, [shop_order(1001), shop_order(1001, currency="CHF", reference="#2001")])
    store(first)
    assert replay_open_record(second) is ReplayOutcome.CONFLICT
    assert replay_open_record(third) is ReplayOutcome.STORED
    assert select(settings, "SELECT reason, order_id, contract_id, reason_contract_id FROM orders_quarantine") == [
        ("conflict", "#1001", 3, 2)
    ]


def test_a_conflict_that_a_looser_contract_finds_is_proven(settings: Settings) -> None:
    first, second = with_contract(settings, FIRST), with_contract(settings, SECOND)
    send(settings, [shop_order(1001, currency="CHF"), shop_order(1001)])
    store(first)
    assert replay_open_record(second) is ReplayOutcome.CONFLICT
    with Connection(second) as connection:
        [entry] = quarantine.read_matching(connection, QuarantineFilter())
        assert quarantine.discard(connection, [entry.quarantine_id], by="ann@desk", because="a test") == 1
    assert audit.run(second).is_proven


def test_a_duplicate_by_an_earlier_contract_is_proven(
    settings: Settings,
) -> None:
    """The sink's contract does not have the later columns yet, so it does not compare them."""
    first, second = with_contract(settings, FIRST), with_contract(settings, SECOND)
    send(settings, [shop_order(1001, currency="CHF"), shop_order(1002, currency="CHF")])
    store(first)
    schema.prepare(second)
    with Connection(second) as connection:
        for entry, changed in zip(
            quarantine.read_matching(connection, QuarantineFilter()), ({}, {"gift": True}), strict=True
        ):
            corrected = shop_order(1001 + entry.offset, **changed)
            outcome = Replayer(connection).replay(entry, by="ann@desk", corrected=corrected).outcome
            assert outcome is ReplayOutcome.STORED
    send(settings, [shop_order(1001), shop_order(1002), shop_order(1002, quantity=1, total_price="45.90")])
    store(first)
    report = audit.run(second)
    assert (report.is_proven, counts(report)) == (True, (5, 2, 2, 1)), report
    execute(settings, "UPDATE orders SET gift = NULL WHERE order_id = '#1002'")
    assert not audit.run(second).is_proven


def test_a_contract_is_valid_until_a_later_one_stores_records(settings: Settings) -> None:
    """Its sink can be restarted, the new columns are no difference, and replays by the new contract are checked."""
    first, second = (
        with_contract(settings, FIRST),
        with_contract(settings, SECOND.replace("max_length = 3", "max_length = 30")),
    )
    send(settings, [shop_order(1001), shop_order(1002, currency="CHF", source={"channel": "app"})])
    store(first)
    schema.prepare(second)
    with Connection(second) as connection:
        [entry] = quarantine.read_matching(connection, QuarantineFilter())
        assert Replayer(connection).replay(entry, by="ann@desk").outcome is ReplayOutcome.STORED
    assert schema.missing_steps(first) == schema.prepare(first) == []
    send(settings, [shop_order(1003)])
    store(first)
    assert audit.run(first).is_proven
    execute(settings, "UPDATE orders SET channel = 'web' WHERE order_id = '#1002'")
    assert not audit.run(first).is_proven


def test_the_default_contract_can_be_extended(settings: Settings) -> None:
    send(settings, [order(1), order(2)])
    store(settings)
    extended = with_contract(settings, '[fields.coupon]\ntype = "string"\nrequired = false\n')
    send(settings, [order(3, coupon="SAVE"), order(1), order(4)])
    store(extended)
    assert select(settings, "SELECT coupon FROM orders ORDER BY order_id") == [(None,), (None,), ("SAVE",), (None,)]
    assert counts(audit.run(extended)) == (5, 4, 1, 0)
    assert audit.run(settings).is_proven  # it reads by the versions in the database, not by ORDER_CONTRACT
    with pytest.raises(ContractInvalid, match=r"ORDER_CONTRACT is not set, but the orders of .*\(version 1\)"):
        schema.prepare(settings)


ADOPTED = (
    FIRST
    + """
[fields.note]
type = "string"
max_length = 100
[fields.points]
type = "integer"
minimum = -1000
[fields.weight]
type = "decimal"
precision = 8
scale = 4
[fields.gift]
type = "boolean"
[fields.paid_at]
type = "timestamp"
digits = 0
[fields.items]
type = "json"
"""
)
WIDER = (  # and in another order
    ADOPTED.replace("digits = 3", "digits = 6")
    .replace("max_length = 100", "max_length = 2000")
    .replace("minimum = -1000", f"maximum = {2**40}")
    .replace("precision = 8\nscale = 4", "precision = 28\nscale = 18")
    .replace("digits = 0", "digits = 3")
    .replace("[fields.items]", '[fields.coupon]\ntype = "string"\nrequired = false\n[fields.items]')
    .replace('[fields.gift]\ntype = "boolean"\n', "")
    + '[fields.gift]\ntype = "boolean"\n'
)
ADOPTED_VALUES = {
    "currency": "'EUR'",
    "note": "'Grüße, Ann|x '",
    "points": "-3",
    "weight": "-1.5",
    "gift": "0",
    "paid_at": "'2025-01-15 14:30:45'",
    "items": "'[1.50, null]'",
}


def test_custom_columns_of_adopted_rows_are_checked_and_may_become_wider(settings: Settings) -> None:
    first, wider = with_contract(settings, ADOPTED), with_contract(settings, WIDER)
    contract = loader.contract_of(first)
    with Connection(settings, database=False) as connection:
        connection.execute("create_database")
    declared = ", ".join(f"{field.name} {field.sql_definition}" for field in contract.columns)
    execute(settings, f"CREATE TABLE orders ({declared}, PRIMARY KEY (order_id))")
    fields = "'c-1', '#1001', 'Yoga Mat', 'Toys', 45.99, 2, 91.98, '2025-01-15 14:30:45.123'"
    values = [ADOPTED_VALUES[field.name] for field in contract.custom_columns]
    nulls = ["NULL"] * len(values)
    for row in ((fields, *values), (fields.replace("1001", "1002"), *nulls)):
        execute(settings, f"INSERT INTO orders VALUES ({', '.join(row)})")
    send(settings, [])
    schema.prepare(first)
    assert_adopted_rows_are_checked(first)
    with pytest.raises(TableDrifted) as drifted:
        schema.prepare(wider)
    execute(settings, drifted.value.hint.removeprefix("Fix it with: ").split(";")[0])
    assert [step.description for step in schema.prepare(wider)] == [
        "column coupon of table orders",
        "contract version 2",
    ]
    assert_adopted_rows_are_checked(wider)
    execute(settings, "UPDATE orders SET coupon = 'FREE' WHERE order_id = '#1002'")
    assert [finding.description for finding in audit.run(wider).adoption] == [
        "rows that were adopted have changed since: the checksum differs"
    ]


def assert_adopted_rows_are_checked(settings: Settings) -> None:
    assert audit.run(settings).is_proven
    names = [field.name for field in loader.contract_of(settings).custom_columns]
    changes = [
        "order_timestamp = '2025-01-15 14:30:45.124'",
        "items = note, note = NULL",
        *(f"{name} = {value} WHERE order_id = '#1002'" for name, value in ADOPTED_VALUES.items()),
        *(f"{name} = {'1' if name == 'coupon' else 'NULL'} WHERE order_id = '#1001'" for name in names),
    ]
    with Connection(settings) as connection:
        counted = snapshot.read_adoption(connection)
        for change in changes:
            connection.execute_text(f"UPDATE orders SET {change}")
            assert snapshot.count_orders(connection).adopted != counted, change
            connection.rollback()
        assert snapshot.count_orders(connection).adopted == counted


CHANGES = {
    "removed": (FIRST, "column gift is no longer in the contract", "required = false"),
    "narrower": (
        SECOND.replace("max_length = 10", "max_length = 5"),
        r"VARCHAR\(10\).* to VARCHAR\(5\)",
        "Keep the type",
    ),
    "other type": (SECOND.replace('type = "boolean"', 'type = "integer"'), "from TINYINT to INT", "MYSQL_TABLE"),
    "renamed": (SECOND.replace("fields.gift", "fields.present"), "column gift is no longer", "another MYSQL_TABLE"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_impossible_change_is_refused_with_the_steps(database: Settings, change: str) -> None:
    text, problem, fix = CHANGES[change]
    schema.prepare(with_contract(database, SECOND))
    commit(with_contract(database, SECOND), batch_of([shop_order(1001)]))
    before = custom_columns(database)
    for check in (schema.missing_steps, schema.prepare):
        with pytest.raises(ContractInvalid, match=problem) as error:
            check(with_contract(database, text))
        assert fix in error.value.hint
    assert custom_columns(database) == before
    assert select(database, "SELECT COUNT(*) FROM orders_contracts") == [(1,)]


def test_a_contract_may_be_corrected_until_records_are_stored(database: Settings) -> None:
    schema.prepare(with_contract(database, SECOND))
    with pytest.raises(TableDrifted, match="column gift is unknown") as drifted:
        schema.prepare(with_contract(database, FIRST))
    execute(database, drifted.value.hint.removeprefix("Fix it with: ").split(";")[0])
    schema.prepare(with_contract(database, FIRST))
    assert commit(with_contract(database, FIRST), batch_of([shop_order(1001)])).stored == 1


def test_stricter_rules_need_no_new_column(database: Settings) -> None:
    schema.prepare(with_contract(database, SECOND))
    stricter = with_contract(
        database, SECOND.replace(', "CHF"]', "]").replace("required = false", "required = true", 1)
    )
    assert [step.description for step in schema.prepare(stricter)] == ["contract version 2"]


def test_a_type_change_that_copies_the_table_is_left_to_the_operator(database: Settings) -> None:
    counted = FIRST + '[fields.group]\ntype = "integer"\n'  # a reserved word of SQL
    wider = with_contract(database, counted + f"maximum = {2**40}\n")
    schema.prepare(with_contract(database, counted))
    with pytest.raises(TableDrifted, match="column group is int, not bigint") as drifted:
        schema.prepare(wider)
    execute(database, drifted.value.hint.removeprefix("Fix it with: ").split(";")[0])
    assert [step.description for step in schema.prepare(wider)] == ["contract version 2"]


def test_new_columns_are_added_instantly(database: Settings) -> None:
    """Both servers change only metadata, so they do not copy a large table, and queries do not wait."""
    schema.prepare(with_contract(database, FIRST))
    [step, _] = schema.missing_steps(with_contract(database, SECOND))
    execute(database, schema.statement_of(step, with_contract(database, SECOND)).rstrip(";") + ", ALGORITHM = INSTANT")
    assert [step.description for step in schema.prepare(with_contract(database, SECOND))] == ["contract version 2"]


def test_a_writer_with_an_outdated_contract_is_refused(
    database: Settings,
) -> None:
    first, second = with_contract(database, FIRST), with_contract(database, SECOND)
    schema.prepare(first)
    with Writer(first, TOPIC) as earlier:
        earlier.commit(batch_of([shop_order(1001)]))
        schema.prepare(second)
        earlier.commit(batch_of([shop_order(1002)], 1))  # the new version is known, but not used yet
        with Writer(first, TOPIC) as restarted:
            restarted.commit(batch_of([shop_order(1003)], 2))
        with Writer(second, TOPIC) as later:
            later.commit(batch_of([shop_order(1004)], 3))
        before = select(database, "SELECT * FROM orders_ledger")
        with pytest.raises(ContractInvalid, match=r"contract.toml is not the contract of .* version 2: column gift"):
            earlier.commit(batch_of([shop_order(1005)], 4))
    with pytest.raises(ContractInvalid):
        Writer(first, TOPIC)
    assert select(database, "SELECT * FROM orders_ledger") == before
    assert select(database, "SELECT first_offset, contract_id FROM orders_contract_starts") == [(0, 1), (3, 2)]


def test_a_second_sink_with_another_contract_is_refused(settings: Settings, tmp_path: Path) -> None:
    send(settings, [shop_order(1001)])
    (tmp_path / "first.toml").write_text(FIRST, "utf-8")
    (tmp_path / "second.toml").write_text(SECOND, "utf-8")
    (tmp_path / "broken.toml").write_text(FIRST + '[fields.gift]\ntype = "bool"\n', "utf-8")
    sink = ("sink", "--engine", "direct", "--once")
    ended = run(msgspec.structs.replace(settings, order_contract="second.toml"), *sink, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    for name, words in (
        ("first.toml", "column gift is no longer in the contract"),
        ("broken.toml", "line 22: type is 'bool'. hint: Use one of: string, integer"),
    ):
        ended = run(msgspec.structs.replace(settings, order_contract=name), *sink, cwd=tmp_path)
        assert ended.returncode == 2
        assert words in " ".join(ended.stderr.split())
        assert "Traceback" not in ended.stderr


def test_a_standby_with_another_contract_is_refused_and_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    send(settings, [shop_order(1001)])
    for name, text in (("first.toml", FIRST), ("second.toml", SECOND)):
        (tmp_path / name).write_text(text, "utf-8")
    first, second = (msgspec.structs.replace(settings, order_contract=f"{name}.toml") for name in ("first", "second"))
    sink = ("sink", "--engine", "direct")
    schema.prepare(with_contract(settings, FIRST))
    with running(first, *sink, folder=tmp_path) as leader:
        until(lambda: _is_stored(settings, "#1001"), leader)
        refused = run(second, *sink, cwd=tmp_path)
        assert refused.returncode == 2
        assert "Another sink is active and uses another contract" in " ".join(refused.stderr.split())
        assert select(settings, "SELECT COUNT(*) FROM orders_contracts") == [(1,)]
        send(settings, [shop_order(1002)])
        until(lambda: _is_stored(settings, "#1002"), leader)
    assert run(second, *sink, "--once", cwd=tmp_path).returncode == 0
    assert select(settings, "SELECT COUNT(*) FROM orders_contracts") == [(2,)]


def _is_stored(settings: Settings, order_id: str) -> bool:
    return bool(select(settings, f"SELECT 1 FROM orders WHERE order_id = '{order_id}'"))


def test_a_stored_contract_that_was_changed_by_hand_is_reported(database: Settings) -> None:
    settings = with_contract(database, FIRST)
    schema.prepare(settings)
    execute(database, "UPDATE orders_contracts SET contract = '{}'")
    with pytest.raises(TableDrifted, match="Row 1 of table orders_contracts is not a contract"):
        schema.prepare(settings)


def test_a_column_that_was_dropped_with_a_forged_contract_is_found(settings: Settings) -> None:
    second = with_contract(settings, SECOND)
    for which in (with_contract(settings, FIRST), second):
        send(settings, [shop_order(1001), shop_order(1002, gift=True)])
        store(which)
    assert audit.run(second).is_proven
    execute(settings, "INSERT INTO orders_contracts SELECT 3, contract, added_at FROM orders_contracts LIMIT 1")
    execute(settings, "ALTER TABLE orders DROP COLUMN gift, DROP COLUMN paid_at, DROP COLUMN channel")
    assert [finding.description for finding in audit.run(second).tables] == [
        "contract version 3 lacks columns of version 2: channel, gift, paid_at"
    ]


def test_a_reader_needs_no_contract_for_the_standard_fields(database: Settings) -> None:
    settings = with_contract(database, FIRST)
    schema.prepare(settings)
    commit(settings, batch_of([shop_order(1001)]))
    with raw_session(database) as session, session.cursor() as cursor:
        cursor.execute("SELECT order_id, unit_price FROM orders")
        assert [str(value) for value in cursor.fetchall()[0]] == ["#1001", "45.90"]
