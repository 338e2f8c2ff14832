"""The audit finds every change in the tables, or SECURITY.md has the reason why not.

The tests change each column of each table, and each view, key and engine. They also move records between tables and
correct counters, sums and rollup, as an attacker would to hide the change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from orderflow import audit, topic
from orderflow.contract import definition
from orderflow.errors import OperatorError
from orderflow.settings import Settings
from orderflow.store import audits, ledger, quarantine, schema, statements
from orderflow.store.connection import Connection
from orderflow.store.replay import Replayer
from tests.support.audited import COLUMNS, NO_FINDINGS, TABLES, column_names, created_once, restore
from tests.support.records import lose, order, send, store
from tests.support.sql import execute, select

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text("utf-8")
EVERY_COLUMN = [
    (table, column)
    for key, table in statements.table_names(Settings()).items()
    if table in TABLES
    for column in (
        [*COLUMNS, "coupon", "kafka_partition", "kafka_offset", "produced_at", "stored_at"]
        if key == "orders"
        else re.findall(r"^  `?([a-z_]+)`? [A-Z]+[ (]", statements.sql(f"create_{key}", Settings()), re.MULTILINE)
    )
    if column not in ("PRIMARY", "UNIQUE", "INDEX")
]
# The audit does not find a change of only one of these columns, for this reason. SECURITY.md has the same table.
UNDETECTED = {
    "orders_ledger.unknown_fields": "it counts the fields that were unknown under the contract of that time",
    "orders_quarantine.quarantine_id": "only commands use it; no figure depends on it",
    "orders_quarantine.record_headers": "no figure depends on it; the audit does not read headers",
    "orders_quarantine.detail": "a sentence for people, which differs between versions; the reason is checked",
    "orders_quarantine.resolved_by": "the audit checks that there is a name, but not which",
    "orders_quarantine.resolved_at": "it is checked where the replay stored an order; otherwise no other table has it",
    "orders_quarantine.resolved_because": "the audit checks that there is a reason, but not which",
    "orders_quarantine_chunks.chunk_index": "it only orders the chunks; another order changes the value, which is"
    " checked",
    "orders_losses.accepted_at": "no other table has it; the offsets are checked",
    "orders_losses.accepted_by": "no other table has it; the offsets are checked",
    "orders_adoption.adoption_id": "the table has only one row",
    "orders_adoption.counted_at": "no figure depends on it",
    "orders_contracts.added_at": "no figure depends on it",
    "orders_audits.audit_id": "only the newest row counts, and each audit adds one",
    "orders_audits.audited_at": "only the newest row counts, and each audit adds one",
    "orders_audits.sentence": "the result and the counts in it are checked, but not its other words",
}
IN_RANGES = order(2, unit_price=60, total_price=120)  # in the generator's ranges; the others are not
# The rows that are changed: a row that was simply stored, an open one, the last chunk, …
CHANGED_ROWS = {
    "orders": "order_id = 'ORDER-000002'",
    "orders_ledger": "kafka_partition = 0",
    "orders_quarantine": "reason = 'malformed_json' AND status = 'open'",
    "orders_quarantine_chunks": "chunk_index = 1",
    "orders_quarantine.resolved_by": "status = 'discarded'",
    "orders_quarantine.resolved_at": "status = 'discarded'",
    "orders_quarantine.resolved_because": "status = 'discarded'",
}
NEW_VALUES = {
    "int": "COALESCE({0} + 100, 1)",
    "bigint": "COALESCE({0} + 100, 1)",
    "tinyint": "1 - {0}",
    "decimal": "{0} + 1",
    "datetime": "COALESCE({0} - INTERVAL 1 SECOND, UTC_TIMESTAMP())",
    "varchar": "COALESCE(CONCAT({0}, '0'), 'x')",
    "text": "CONCAT({0}, 'x')",
    "mediumtext": "CONCAT({0}, ' ')",
    "longtext": "COALESCE(CONCAT({0}, ' '), '[]')",
    "longblob": "COALESCE(CONCAT({0}, 'x'), 'x')",
    "enum": "IF({0} = 'open', 'discarded', IF({0} = 'record_value', 'record_key', 'open'))",
}
SPECIAL = {
    "orders_by_minute.minute": "{0} + INTERVAL 1 DAY",  # the column has no seconds
    "orders_contracts.contract": "REPLACE({0}, 'coupon', 'voucher')",  # still a contract
}


def fill(settings: Settings) -> None:
    """Store records with every possible outcome, so that every table has rows.

    Two rows were adopted. The default contract holds at first, then one with a coupon. Partition 0: stored, stored,
    duplicate, open, discarded, conflict, one in chunks, stored, corrected, replayed, stored. Partition 1: three lost,
    one stored, one duplicate. Partition 2: two stored.
    """
    with Connection(settings, database=False) as connection:
        connection.execute("create_database")
    declared = ", ".join(f"{name} {sql}" for name, sql in COLUMNS.items())
    execute(settings, f"CREATE TABLE orders ({declared}, PRIMARY KEY (order_id))")
    for number in (91, 92):
        execute(settings, f"INSERT INTO orders VALUES {row(number)}")
    schema.prepare(settings)
    [(packet,)] = select(settings, "SELECT @@GLOBAL.max_allowed_packet")
    execute(settings, "SET GLOBAL max_allowed_packet = 1048576")
    try:
        conflict = order(1, quantity=1, total_price=45.99)
        send(settings, [order(1), IN_RANGES, order(1), b"{", None, conflict, b"'" * 900_000, order(3), b"["])
        store(settings)
    finally:
        execute(settings, f"SET GLOBAL max_allowed_packet = {packet}")
    send(settings, [order(4)])
    store(msgspec.structs.replace(settings, order_ranges="enforce"))
    with Connection(settings) as connection:
        entries = {entry.offset: entry for entry in quarantine.read_matching(connection, quarantine.QuarantineFilter())}
        assert Replayer(connection).replay(entries[9], by="ann@desk").outcome.is_in_table
        assert Replayer(connection).replay(entries[8], by="ann@desk", corrected=order(7)).outcome.is_in_table
        assert quarantine.discard(connection, [entries[4].quarantine_id], by="ann@desk", because="a test") == 1
    lose(settings, 1, 3)
    with Connection(settings) as connection:
        info = topic.describe(settings)
        assert len(ledger.accept_losses(connection, info.name, info.topic_id, {1: 3}, "ann@desk")) == 1
    send(settings, [order(10, coupon="SAVE")])
    send(settings, [order(8, coupon="SAVE"), order(1)], partition=1)
    send(settings, [order(21), order(22, coupon="SAVE")], partition=2)
    store(with_coupon(settings))
    keep_audit(with_coupon(settings))


def with_coupon(settings: Settings) -> Settings:
    text = '[fields.coupon]\ntype = "string"\nrequired = false\n'
    return msgspec.structs.replace(settings, order_contract="contract.toml", order_contract_text=text)


def row(number: int) -> str:
    return f"({number}, 'ORDER-{number:06d}', 'Yoga Mat', 'Sports & Outdoors', 45.99, 2, 91.98, '2025-01-15 14:02:45')"


def keep_audit(settings: Settings) -> audit.Report:
    report = audit.run(settings)
    with Connection(settings) as connection:
        audits.store(
            connection, is_proven=report.is_proven, records=report.records, findings=0, sentence=report.sentence()
        )
    return report


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def filled(request: pytest.FixtureRequest, kafka: str) -> Iterator[Settings]:
    for settings in created_once(request, kafka, fill):
        yield with_coupon(settings)


def is_noticed(settings: Settings) -> bool:
    """Return whether the audit reports a finding, or reports that it cannot check something."""
    try:
        report = audit.run(settings, end_timeout=0.5)
        return not report.is_proven or report.partitions_unchecked > 0
    except OperatorError:
        return True


def test_the_unchanged_tables_are_proven(filled: Settings) -> None:
    report = audit.run(filled)
    assert (report.is_proven, report.counts) == (True, NO_FINDINGS), report.summary()
    assert report.sentence() == (
        "Proven: 15 records = 9 stored + 2 duplicates + 4 quarantined. Replayed from the quarantine, so stored"
        " or duplicate: 2 records. Discarded, but still quarantined: 1 record. Lost before being read, and accepted: 3"
        " offsets. Adopted with the table, without a record: 2 rows."
    )
    for table in TABLES:
        assert select(filled, f"SELECT COUNT(*) FROM {table}") > [(0,)], table


def test_security_md_lists_the_undetected_changes() -> None:
    [printed] = re.findall(r"<!-- undetected: .*?-->\n(.*?)<!-- /undetected -->", SECURITY, re.DOTALL)
    rows = [re.fullmatch(r"\| `(.*?)` \| (.*?) \|", line) for line in printed.splitlines()[2:]]
    assert {match[1]: match[2] for match in rows if match} == UNDETECTED
    assert UNDETECTED.keys() <= {".".join(where) for where in EVERY_COLUMN}


def test_the_tests_change_every_column(filled: Settings) -> None:
    for table in TABLES:
        assert column_names(filled, table) == [name for owner, name in EVERY_COLUMN if owner == table]


@pytest.mark.parametrize(("table", "column"), EVERY_COLUMN)
def test_a_changed_column_is_found(filled: Settings, table: str, column: str) -> None:
    """Change it in one row and in all rows, and set it to NULL where allowed."""
    [(kind, nullable)] = select(
        filled,
        "SELECT data_type, is_nullable FROM information_schema.columns WHERE table_schema = DATABASE()"
        f" AND table_name = '{table}' AND column_name = '{column}'",
    )
    new = SPECIAL.get(f"{table}.{column}", NEW_VALUES[kind]).format(f"`{column}`")
    chosen = CHANGED_ROWS.get(f"{table}.{column}", CHANGED_ROWS.get(table))
    where = f"WHERE {chosen}" if chosen else "LIMIT 1"
    changes = [f"UPDATE {table} SET `{column}` = {new} {where}"]
    if nullable == "YES" and select(filled, f"SELECT 1 FROM {table} WHERE `{column}` IS NOT NULL"):
        changes.append(f"UPDATE {table} SET `{column}` = NULL")
    is_key = select(
        filled,
        "SELECT 1 FROM information_schema.statistics WHERE table_schema = DATABASE() AND non_unique = 0"
        f" AND table_name = '{table}' AND column_name = '{column}'",
    )
    if not is_key:
        changes.append(f"UPDATE {table} SET `{column}` = {new}")
    noticed = []
    for change in changes:
        try:
            execute(filled, change)
            noticed.append(is_noticed(filled))
        finally:
            restore(filled, [table])
    if f"{table}.{column}" in UNDETECTED:
        assert not noticed[0], "it is found: remove it from the list"
    else:
        assert all(noticed), [change for change, found in zip(changes, noticed, strict=True) if not found]


VIEWS = {
    "dropped": "DROP VIEW {view}",
    "with fewer rows": "CREATE OR REPLACE VIEW {view} AS {select} LIMIT 0",
    "with more rows": "CREATE OR REPLACE VIEW {view} AS SELECT * FROM ({select}) AS a UNION ALL"
    " SELECT * FROM ({select}) AS b",
    "of text": "CREATE OR REPLACE VIEW {view} AS SELECT 'x' AS {columns[0]}, 'x' AS {columns[1]}, 'x' AS {columns[2]},"
    " 'x' AS {columns[3]}, 'x' AS {columns[4]}",
    "without a column": "CREATE OR REPLACE VIEW {view} AS SELECT {columns[0]}, {columns[1]} FROM ({select}) AS a",
    "as a table": "DROP VIEW {view}; CREATE TABLE {view} AS {select}",
} | {
    f"with another column {number + 1}": "CREATE OR REPLACE VIEW {view} AS SELECT "
    + ", ".join(
        f"{{changed[{index}]}} AS {{columns[{index}]}}" if index == number else f"{{columns[{index}]}}"
        for index in range(5)
    )
    + " FROM ({select}) AS a"
    for number in range(5)
}


@pytest.mark.parametrize("view", ["per_minute", "per_day", "per_reason"])
@pytest.mark.parametrize("change", VIEWS)
def test_a_changed_view_is_found(filled: Settings, view: str, change: str) -> None:
    name, created = f"orders_{view}", statements.sql(f"create_{view}", filled)
    names = column_names(filled, name)
    changed = [
        f"{column} + INTERVAL 1 DAY" if column in ("minute", "day") or column.endswith("_at")
        else f"CONCAT({column}, 'x')" if column in ("product_category", "reason", "status")
        else f"{column} + 1"
        for column in names
    ]  # fmt: skip
    try:
        for statement in VIEWS[change].split("; "):
            execute(
                filled,
                statement.format(view=name, select=created.split(" AS\n", 1)[1], columns=names, changed=changed),
            )
        report = audit.run(filled)
    finally:
        execute(filled, f"DROP {'TABLE' if change == 'as a table' else 'VIEW'} IF EXISTS {name}")
        execute(filled, created)
    assert report.counts["tables"] > 0
    assert not report.is_proven


@pytest.mark.parametrize("table", TABLES)
def test_another_engine_is_found(filled: Settings, table: str) -> None:
    execute(filled, f"ALTER TABLE {table} ENGINE = MyISAM")
    try:
        report = audit.run(filled)
    finally:
        execute(filled, f"ALTER TABLE {table} ENGINE = InnoDB")
    assert report.counts["tables"] > 0


NEW_KEYS = {
    "orders": "order_id, quantity",
    "orders_ledger": "kafka_partition, topic",
    "orders_quarantine": "quarantine_id, kafka_offset",
    "orders_quarantine_chunks": "chunk_index, field, kafka_offset, kafka_partition, topic_id",
    "orders_losses": "first_offset, kafka_partition, topic",
    "orders_by_minute": "kafka_partition, minute, product_category",
    "orders_adoption": "adoption_id, orders",
    "orders_audits": "audit_id, records",
    "orders_contracts": "contract_id, added_at",
    "orders_contract_starts": "contract_id, first_offset, kafka_partition, topic_id",
}


@pytest.mark.parametrize("table", TABLES)
def test_another_key_is_found(filled: Settings, table: str) -> None:
    """Drop each unique key in turn, then add one that is not in the schema."""
    keys = select(
        filled,
        "SELECT index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index) FROM information_schema.statistics WHERE"
        f" table_schema = DATABASE() AND table_name = '{table}' AND non_unique = 0 GROUP BY index_name",
    )
    [(created,)] = [(text,) for _, text in select(filled, f"SHOW CREATE TABLE {table}")]
    for name, key_columns in keys:
        drop_key = "DROP PRIMARY KEY" if name == "PRIMARY" else f"DROP INDEX {name}"
        add_key = (
            f"ADD PRIMARY KEY ({key_columns})" if name == "PRIMARY" else f"ADD UNIQUE INDEX {name} ({key_columns})"
        )
        if "AUTO_INCREMENT" in created and name == "PRIMARY":  # it must be indexed, but not unique
            drop_key += f", ADD INDEX interim_index ({key_columns})"
            add_key += ", DROP INDEX interim_index"
        execute(filled, f"ALTER TABLE {table} {drop_key}")
        try:
            assert audit.run(filled).counts["tables"] > 0, drop_key
        finally:
            execute(filled, f"ALTER TABLE {table} {add_key}")
    execute(filled, f"ALTER TABLE {table} ADD UNIQUE INDEX another ({NEW_KEYS[table]})")
    try:
        assert audit.run(filled).counts["tables"] > 0
    finally:
        execute(filled, f"ALTER TABLE {table} DROP INDEX another")


FULL_ROW = f"({', '.join(definition.STANDARD_FIELDS)}, kafka_partition, kafka_offset, produced_at, stored_at)"
TO_QUARANTINE = (
    "INSERT INTO orders_quarantine (topic, topic_id, kafka_partition, kafka_offset, record_key, record_value,"
    " produced_at, quarantined_at, reason, detail, order_id) SELECT topic, topic_id, 0, {offset}, 'key', '{value}',"
    " o.produced_at, o.stored_at, '{reason}', '', {order_id} FROM orders_ledger AS l, orders AS o"
    " WHERE l.kafka_partition = 0 AND o.order_id = '{of}'"
)


def to_quarantine(
    reason: str, order_id: str = "NULL", offset: int = 1, value: bytes = IN_RANGES, of: str = "ORDER-000002"
) -> str:
    return TO_QUARANTINE.format(offset=offset, value=value.decode(), reason=reason, order_id=order_id, of=of)


def forged_contract(number: int, text: str) -> str:
    """Return statements that add a version of the contract with this change, in force for the offset 1."""
    return (
        f"INSERT INTO orders_contracts SELECT {number}, {text}, added_at FROM orders_contracts;"
        f" INSERT INTO orders_contract_starts SELECT topic_id, 0, 1, {number} FROM orders_contract_starts LIMIT 1;"
        " INSERT INTO orders_contract_starts SELECT topic_id, 0, 2, 1 FROM orders_contract_starts LIMIT 1"
    )


FORGED = """REPLACE(contract, '"path":["customer_id"]', '"path":["quantity"]')"""
DELETE_2 = "DELETE FROM orders WHERE order_id = 'ORDER-000002'"
MOVES = {
    "rows forged as adopted": f"INSERT INTO orders {FULL_ROW.replace(', kafka_offset, produced_at, stored_at', '')}"
    " VALUES (1, 'ORDER-000666', 'x', 'y', 1, 1, 1, '2025-01-01', -1)",
    "adopted row deleted": "DELETE FROM orders WHERE order_id = 'ORDER-000091'",
    "adopted row changed": "UPDATE orders SET quantity = 3, total_price = 137.97 WHERE order_id = 'ORDER-000091'",
    "custom column of an adopted row changed": "UPDATE orders SET coupon = 'FREE' WHERE order_id = 'ORDER-000091'",
    "adopted row replaced": "UPDATE orders SET order_id = 'ORDER-000666' WHERE order_id = 'ORDER-000091'",
    "stored row turned into an adopted one": "UPDATE orders SET kafka_partition = -1, kafka_offset = NULL,"
    " produced_at = NULL, stored_at = NULL WHERE order_id = 'ORDER-000002'",
    "adopted row turned into a stored one": "UPDATE orders SET kafka_partition = 0, kafka_offset = 2,"
    " stored_at = UTC_TIMESTAMP(6) WHERE order_id = 'ORDER-000091'",
    "count of the adopted rows deleted": "DELETE FROM orders_adoption",
    "count of the adopted rows twice": "INSERT INTO orders_adoption SELECT 2, counted_at, orders, row_checksum"
    " FROM orders_adoption",
    "first orders deleted and first_offset raised": "DELETE FROM orders WHERE"
    " order_id = 'ORDER-000021'; UPDATE orders_ledger SET first_offset = 1 WHERE kafka_partition = 2",
    "good order into the quarantine": f"{to_quarantine('malformed_json')}; {DELETE_2}",
    "good order into the quarantine as a conflict": f"{to_quarantine('conflict', repr('ORDER-000002'))}; {DELETE_2}",
    "good order into the quarantine as outside the ranges": f"{to_quarantine('outside_ranges')}; {DELETE_2}",
    "duplicate into the quarantine as a conflict": to_quarantine("conflict", "'ORDER-000001'", 2, order(1)),
    "duplicate into the quarantine as refused": to_quarantine("refused_by_database", "'ORDER-000001'", 2, order(1)),
    "conflict out of the quarantine": "DELETE FROM orders_quarantine WHERE reason = 'conflict'",
    "conflict turned into a refused record": "UPDATE orders_quarantine SET reason = 'refused_by_database'"
    " WHERE reason = 'conflict'",
    "conflict turned into a malformed record": "UPDATE orders_quarantine SET reason = 'malformed_json', order_id = NULL"
    " WHERE reason = 'conflict'",
    "conflict turned into the stored order": "UPDATE orders SET quantity = 1, total_price = 45.99, kafka_offset = 5"
    " WHERE order_id = 'ORDER-000001'; DELETE FROM orders_quarantine WHERE reason = 'conflict'",
    "conflict and stored order exchanged": "DELETE FROM orders_quarantine WHERE kafka_offset = 5;"
    f" {to_quarantine('conflict', repr('ORDER-000001'), 0, order(1))}; UPDATE orders SET quantity = 1,"
    " total_price = 45.99, kafka_offset = 5 WHERE order_id = 'ORDER-000001'",
    "malformed record out of the quarantine": "DELETE FROM orders_quarantine WHERE kafka_offset = 3",
    "malformed record turned into a conflict": "UPDATE orders_quarantine SET reason = 'conflict',"
    " order_id = 'ORDER-000001' WHERE kafka_offset = 3",
    "quarantined records exchanged": "UPDATE orders_quarantine SET kafka_offset = 99 WHERE kafka_offset = 3; UPDATE"
    " orders_quarantine SET kafka_offset = 3 WHERE kafka_offset = 4; UPDATE orders_quarantine SET kafka_offset = 4"
    " WHERE kafka_offset = 99",
    "quarantined record into another partition": "UPDATE orders_quarantine SET kafka_partition = 1, kafka_offset = 4"
    " WHERE kafka_offset = 3",
    "quarantined record of another topic's name": "UPDATE orders_quarantine SET topic = 'x' WHERE kafka_offset = 3",
    "order into another partition": "UPDATE orders SET kafka_partition = 1, kafka_offset = 4"
    " WHERE order_id = 'ORDER-000002'",
    "order at its duplicate's offset": "UPDATE orders SET kafka_offset = 2 WHERE order_id = 'ORDER-000001'",
    "order at its duplicate's coordinates in another partition": "UPDATE orders SET kafka_partition = 1,"
    " kafka_offset = 4 WHERE order_id = 'ORDER-000001'",
    "order twice under two ids": f"INSERT INTO orders {FULL_ROW} SELECT customer_id, 'ORDER-000666',"
    f" {', '.join(definition.STANDARD_FIELDS[2:])}, kafka_partition, kafka_offset, produced_at, stored_at FROM orders"
    " WHERE order_id = 'ORDER-000002'",
    "orders exchanged": "UPDATE orders SET kafka_offset = 8 - kafka_offset WHERE order_id IN"
    " ('ORDER-000002', 'ORDER-000003')",
    "corrected order at the corrected record's neighbor": "UPDATE orders SET kafka_offset = 3"
    " WHERE order_id = 'ORDER-000007'",
    "replayed record opened, its order kept": "UPDATE orders_quarantine SET status = 'open', resolved_by = NULL,"
    " resolved_at = NULL WHERE kafka_offset = 9",
    "open record's order stored by hand": "UPDATE orders_quarantine SET status = 'replayed', resolved_by = 'x',"
    " resolved_at = UTC_TIMESTAMP(6) WHERE kafka_offset = 3",
    "partition of the ledger renamed": "UPDATE orders_ledger SET topic = 'elsewhere' WHERE kafka_partition = 1",
    "partition of the ledger of another topic": "UPDATE orders_ledger SET topic_id = 'x' WHERE kafka_partition = 1",
    "empty partition added to the ledger": "INSERT INTO orders_ledger (topic, kafka_partition, topic_id, first_offset,"
    " next_offset, updated_at) SELECT topic, 9, topic_id, 0, 0, updated_at FROM orders_ledger"
    " WHERE kafka_partition = 0",
    "order accepted as lost": "DELETE FROM orders WHERE order_id = 'ORDER-000002'; INSERT INTO orders_losses SELECT"
    " topic, topic_id, 0, 1, 2, accepted_at, 'x' FROM orders_losses; UPDATE orders_ledger SET lost = 1"
    " WHERE kafka_partition = 0",
    "loss deleted": "DELETE FROM orders_losses",
    "loss shortened": "UPDATE orders_losses SET end_offset = 2",
    "chunks of nothing": "INSERT INTO orders_quarantine_chunks SELECT 'x', kafka_partition, kafka_offset, field,"
    " chunk_index, bytes FROM orders_quarantine_chunks",
    "order read by a forged contract": f"{forged_contract(2, FORGED)};"
    " UPDATE orders SET customer_id = quantity WHERE order_id = 'ORDER-000002'",
    "version 0 of the contract": "INSERT INTO orders_contracts SELECT 0, contract, added_at FROM orders_contracts",
    "contract of a partition that the ledger does not have": "INSERT INTO orders_contract_starts SELECT topic_id, 9, 0,"
    " 1 FROM orders_contract_starts LIMIT 1",
    "contract that begins before the ledger": "UPDATE orders_contract_starts SET first_offset = -1"
    " WHERE kafka_partition = 1",
    "coupon removed by a replay of an earlier contract": to_quarantine(
        "refused_by_database", "'ORDER-000010'", 10, order(10, coupon="SAVE"), "ORDER-000010"
    )
    + "; UPDATE orders_quarantine SET status = 'replayed', resolved_by = 'x', resolved_at = quarantined_at"
    " WHERE kafka_offset = 10; UPDATE orders SET coupon = NULL WHERE order_id = 'ORDER-000010'",
    "result of the last audit": "UPDATE orders_audits SET proven = 0",
}
# The audit finds moved times by the ledger's sums of times, so these sums are not corrected.
MOVED_TIMES = {
    "stored time of all orders moved": "UPDATE orders SET stored_at = stored_at - INTERVAL 1 HOUR",
    "stored times of two orders moved against each other": "UPDATE orders SET stored_at = stored_at + INTERVAL 1 SECOND"
    " WHERE order_id = 'ORDER-000010'; UPDATE orders SET stored_at = stored_at - INTERVAL 1 SECOND"
    " WHERE order_id = 'ORDER-000002'",
}
CORRECTIONS = (
    "DELETE FROM orders_by_minute",
    "INSERT INTO orders_by_minute SELECT order_timestamp - INTERVAL SECOND(order_timestamp) SECOND, product_category,"
    " kafka_partition, COUNT(*), SUM(quantity), SUM(total_price) FROM orders GROUP BY 1, 2, 3",
    "UPDATE orders_ledger AS l SET `stored` = (SELECT COUNT(*) FROM orders AS o WHERE o.kafka_partition ="
    " l.kafka_partition), quarantined = (SELECT COUNT(*) FROM orders_quarantine AS q WHERE q.kafka_partition ="
    " l.kafka_partition)",
    "UPDATE orders_ledger AS l SET times_rows = `stored` + quarantined",
)
TIMES = (
    "(SELECT COALESCE(SUM(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column})), 0) FROM {table} AS r"
    " WHERE r.kafka_partition = l.kafka_partition)"
)
SUMS = (
    f"UPDATE orders_ledger AS l SET times_sum = {TIMES.format(column='stored_at', table='orders')}"
    f" + {TIMES.format(column='quarantined_at', table='orders_quarantine')}"
)


def test_correct_figures_are_no_finding(filled: Settings) -> None:
    """After the next test's corrections the figures are right, so the corrections cause no other finding."""
    try:
        for statement in (*CORRECTIONS, SUMS):
            execute(filled, statement)
        report = audit.run(filled)
    finally:
        restore(filled)
    assert report.counts == NO_FINDINGS


@pytest.mark.parametrize("move", MOVES | MOVED_TIMES)
def test_a_moved_record_is_found_though_the_figures_are_corrected(filled: Settings, move: str) -> None:
    statements = [*(MOVES | MOVED_TIMES)[move].split("; "), *CORRECTIONS]
    if move not in MOVED_TIMES:
        statements.append(SUMS)
    try:
        for statement in statements:
            execute(filled, statement)
        assert is_noticed(filled)
    finally:
        restore(filled)
