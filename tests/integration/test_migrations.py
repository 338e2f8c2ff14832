"""The upgrade of a database of version 0.1.0 with its data, on real servers."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orderflow.errors import DatabaseRefused, DatabaseUnavailable, SchemaTooNew, TableDrifted
from orderflow.settings import Settings
from orderflow.store import quarantine, schema
from orderflow.store.connection import Connection
from orderflow.store.migrations import LATEST
from orderflow.store.quarantine import QuarantineFilter
from orderflow.store.replay import Replayer, ReplayOutcome
from orderflow.store.schema_steps import SchemaStep
from tests.support.corpus import numbered
from tests.support.feeder import batch_of, commit
from tests.support.processes import run, until
from tests.support.sql import execute, raw_session, select, select_all

CREATED = (Path(__file__).parents[1] / "data/schema-0.1.0.sql").read_text("utf-8")
NOW = "'2025-01-15 14:30:46.000001'"
# Rows as version 0.1.0 writes them: a stored order, a corrected and replayed record, and an open one of three parts.
ROWS = f"""
INSERT INTO orders (customer_id, order_id, product_name, product_category, unit_price, quantity, total_price,
                    order_timestamp, kafka_partition, kafka_offset, produced_at, stored_at) VALUES
  (1, 'ORDER-000101', 'Yoga Mat', 'Toys', 10.01, 1, 10.01, '2025-01-15 14:30:00', 0, 0, '2025-01-15 14:30:45', {NOW}),
  (2, 'ORDER-000102', 'Yoga Mat', 'Toys', 10.02, 2, 20.04, '2025-01-15 14:30:59', 0, 1, '2025-01-15 14:30:45', {NOW});
INSERT INTO orders_by_minute VALUES ('2025-01-15 14:30:00', 'Toys', 0, 2, 3, 30.05);
INSERT INTO orders_quarantine (topic, topic_id, kafka_partition, kafka_offset, record_key, record_value,
                               record_headers, quarantined_at, reason, detail, status, resolved_by, resolved_at,
                               mended_value, parts) VALUES
  ('orders', 'first', 0, 1, 'key', '{{', NULL, {NOW}, 'malformed_json', '', 'replayed', 'ann@desk', {NOW}, 'good', 0),
  ('orders', 'first', 0, 2, 'k', 'ab', NULL, {NOW}, 'oversized_value', '', 'open', NULL, NULL, NULL, 3);
INSERT INTO orders_record_parts VALUES
  ('first', 0, 2, 'record_value', 0, 'cd'), ('first', 0, 2, 'record_value', 1, 'ef'),
  ('first', 0, 2, 'record_key', 0, 'ey');
INSERT INTO orders_ledger (topic, kafka_partition, topic_id, first_offset, next_offset, `stored`, duplicates,
                           quarantined, updated_at) VALUES ('orders', 0, 'first', 0, 3, 2, 0, 2, {NOW});
"""
MIGRATIONS_NEEDED = [
    "0002_extend_ledger",
    *("0003_rename_quarantine_columns", "0004_rename_record_parts"),
    *("0005_add_ledger_contract", "0006_add_quarantine_contract", "0007_add_last_record"),
    "0008_add_quarantine_reason_contract",
]
STEPS = [
    *("create_contracts", "create_contract_starts", "create_schema"),
    *(step for migration in MIGRATIONS_NEEDED for step in (migration, "insert_schema_version")),
    "create_adoption",
]
WAITING = "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock%'"
OTHERS = ("orders", "orders_ledger", "orders_by_minute", "orders_losses", "orders_audits")


def run_script(settings: Settings, script: str) -> None:
    for statement in re.sub(r"^--.*\n", "", script, flags=re.MULTILINE).split(";\n"):
        if statement.strip():
            execute(settings, statement)


@pytest.fixture
def old(database: Settings) -> Settings:
    """Create a database with the tables and rows of version 0.1.0."""
    execute(msgspec.structs.replace(database, mysql_database="mysql"), f"CREATE DATABASE {database.mysql_database}")
    run_script(database, CREATED + ROWS)
    return database


def content(
    settings: Settings, value_column: str, parts_column: str, table: str, part_column: str
) -> list[list[tuple[Any, ...]]]:
    """Return every row, with the column names of each version."""
    columns = (
        "quarantine_id, topic, topic_id, kafka_partition, kafka_offset, record_key, record_value, record_headers,"
        " produced_at, quarantined_at, reason, detail, order_id, status, resolved_by, resolved_at, resolved_because"
    )
    return select_all(
        settings,
        f"SELECT {columns}, {value_column}, {parts_column} FROM orders_quarantine ORDER BY 1",
        f"SELECT topic_id, kafka_partition, kafka_offset, field, {part_column}, bytes FROM {table} ORDER BY 4, 5",
        *(f"SELECT * FROM {other} ORDER BY 1, 2" for other in OTHERS),
        "SELECT order_id, kafka_partition, kafka_offset, produced_at, stored_at FROM orders ORDER BY 1",
    )


def old_content(settings: Settings) -> list[list[tuple[Any, ...]]]:
    return content(settings, "mended_value", "parts", "orders_record_parts", "part")


def new_content(settings: Settings) -> list[list[tuple[Any, ...]]]:
    return content(settings, "corrected_value", "chunks", "orders_quarantine_chunks", "chunk_index")


def structure(settings: Settings) -> dict[str, str]:
    """Return the CREATE statement of each table, without the next AUTO_INCREMENT value."""
    names = [name for (name,) in select(settings, "SHOW TABLES")]
    created = {name: str(select(settings, f"SHOW CREATE TABLE {name}")[0][1]) for name in names}
    return {name: re.sub(r" AUTO_INCREMENT=\d+", "", text) for name, text in created.items()}


def structures(settings: Settings) -> dict[str, str]:
    """Return the structure without the database's name, which views contain, and without columns' comments.

    No migration changes the comment of an existing column.
    """
    return {
        name: re.sub(r" COMMENT '[^']*'", "", text.replace(settings.mysql_database, "shop"))
        for name, text in structure(settings).items()
    }


def test_a_database_of_version_0_1_0_is_upgraded_with_its_data(old: Settings) -> None:
    before = old_content(old)
    steps = schema.missing_steps(old)
    assert [step.statement for step in steps] == STEPS
    assert schema.prepare(old) == steps
    assert schema.missing_steps(old) == schema.prepare(old) == []
    assert new_content(old) == before
    assert select(old, "SELECT version FROM orders_schema") == [(number,) for number in range(2, LATEST + 1)]
    with Connection(old) as connection:
        replayed, opened = quarantine.read_matching(connection, QuarantineFilter(status=None))
        opened_content = quarantine.read_content(connection, opened)
        assert (opened_content.key, opened_content.value) == (b"key", b"abcdef")
        assert quarantine.read_content(connection, replayed).corrected == b"good"
        assert Replayer(connection).replay(opened, by="ann@desk", corrected=numbered(3)).outcome is ReplayOutcome.STORED
    assert commit(old, batch_of([numbered(4), b"{"], 3)).records == 2


def test_an_upgraded_database_has_the_structure_of_a_new_one(old: Settings) -> None:
    new = msgspec.structs.replace(old, mysql_database=f"{old.mysql_database}_new")
    try:
        schema.prepare(new)
        schema.prepare(old)
        assert structures(old) == structures(new)
        assert select(new, "SELECT version FROM orders_schema") == [(LATEST,)]
    finally:
        execute(old, f"DROP DATABASE IF EXISTS {new.mysql_database}")


def test_the_printed_statements_have_the_same_effect(old: Settings) -> None:
    before = old_content(old)
    run_script(old, "".join(f"{schema.statement_of(step, old)}\n" for step in schema.missing_steps(old)))
    assert schema.missing_steps(old) == []
    assert new_content(old) == before


@pytest.mark.parametrize("steps_done", range(1, len(STEPS)))
def test_an_interrupted_upgrade_is_completed(old: Settings, steps_done: int) -> None:
    before = old_content(old)
    steps = schema.missing_steps(old)
    assert steps_done < len(steps)
    run_script(old, "".join(f"{schema.statement_of(step, old)}\n" for step in steps[:steps_done]))
    assert schema.prepare(old)
    assert schema.missing_steps(old) == []
    assert new_content(old) == before
    assert select(old, "SELECT MAX(version) FROM orders_schema") == [(LATEST,)]


@pytest.mark.parametrize("locked", [True, False], ids=["one node", "nodes of a cluster"])
def test_processes_that_start_at_once_upgrade_without_errors(
    old: Settings, locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process upgrades. If the named lock is not shared, all of them try, and none fails."""
    before, all_checked = old_content(old), threading.Barrier(4)
    original_execute = schema._execute_step
    local = threading.local()

    def execute_together(step: SchemaStep, settings: Settings, *limits: int) -> None:
        if not getattr(local, "passed", False):
            local.passed = True
            all_checked.wait(60)
        original_execute(step, settings, *limits)

    if not locked:
        monkeypatch.setattr(schema, "_lock", lambda settings, seconds: nullcontext())
        monkeypatch.setattr(schema, "_execute_step", execute_together)
    with ThreadPoolExecutor(4) as pool:
        steps_done = list(pool.map(schema.prepare, [old] * 4))
    assert sorted(map(len, steps_done)) == ([0, 0, 0, len(STEPS)] if locked else [len(STEPS)] * 4)
    assert schema.missing_steps(old) == []
    assert new_content(old) == before


@pytest.mark.parametrize(
    "statement", ["select_tables", "select_columns", "select_unique_keys", "select_schema_version"]
)
def test_a_check_during_an_upgrade_neither_fails_nor_repeats_a_step(
    old: Settings, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """The upgrade happens between two statements of the check. The process neither fails nor repeats a step."""
    before, original_execute = old_content(old), Connection.execute
    creations = [step for step in schema.missing_steps(old) if step.statement.startswith("create_")]
    # The table of versions must exist, so that a version can be read.
    run_script(old, "".join(f"{schema.statement_of(step, old)}\n" for step in creations))

    def upgrade_first(self: Connection, name: str, *args: Any, **placeholders: Any) -> Any:
        if name == statement:
            monkeypatch.setattr(Connection, "execute", original_execute)
            assert schema.prepare(old)
        return original_execute(self, name, *args, **placeholders)

    monkeypatch.setattr(Connection, "execute", upgrade_first)
    assert schema.missing_steps(old) == []
    assert new_content(old) == before


def test_one_of_several_processes_creates_a_new_database(database: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        steps_done = list(pool.map(schema.prepare, [database] * 4))
    assert sorted(map(bool, steps_done)) == [False, False, False, True]
    assert schema.missing_steps(database) == []


def test_a_lock_that_is_held_for_too_long_is_reported(old: Settings) -> None:
    with (
        schema._lock(old, 1),
        pytest.raises(DatabaseUnavailable, match=r"^Another process has been creating .* for 1 s\."),
    ):
        schema.prepare(old, other_process_wait=1)
    schema.prepare(old)
    assert schema.missing_steps(old) == []


def test_the_upgrade_waits_for_transactions_that_use_the_table(old: Settings) -> None:
    """Queries that come later wait for the upgrade only a short time."""
    before = old_content(old)
    with raw_session(old) as reader:
        cursor = reader.cursor()
        cursor.execute("SELECT COUNT(*) FROM orders_quarantine")
        cursor.fetchall()
        with pytest.raises(DatabaseUnavailable, match=r"migration [23] .* has to wait, because transactions use"):
            schema.prepare(old, table_wait=1, table_attempts=2)
        assert old_content(old) == before
        with ThreadPoolExecutor(1) as pool:
            upgrade = pool.submit(schema.prepare, old, table_wait=1, table_attempts=30)
            until(lambda: select(old, f"{WAITING} AND db = '{old.mysql_database}'"))
            started_at = time.monotonic()
            rows = select(old, "SELECT COUNT(*) FROM orders_quarantine")
            waited = time.monotonic() - started_at
            time.sleep(2)  # two attempts
            reader.rollback()
            assert upgrade.result(60)
        assert (rows, waited < 20) == ([(2,)], True)
    assert new_content(old) == before


def test_a_sink_of_version_0_1_0_that_still_runs_stops_and_loses_nothing(old: Settings) -> None:
    """Its statements fail with errors that it treats as an operator's error. Its transaction is rolled back."""
    schema.prepare(old)
    before = new_content(old)
    record = (
        "INSERT INTO orders_quarantine (topic, topic_id, kafka_partition, kafka_offset, record_key, record_value,"
        " record_headers, produced_at, quarantined_at, reason, detail, order_id, parts)"
        f" VALUES ('orders', 'first', 0, 3, 'k', 'v', NULL, NULL, {NOW}, 'malformed_json', '', NULL, 0)"
    )
    part = (
        "INSERT INTO orders_record_parts (topic_id, kafka_partition, kafka_offset, field, part, bytes)"
        " VALUES ('first', 0, 3, 'record_value', 0, 'x')"
    )
    with Connection(old) as connection:
        connection.execute_text("UPDATE orders_ledger SET next_offset = 4")
        for statement, number in ((record, 1054), (part, 1146)):
            with pytest.raises(DatabaseRefused, match=rf"refuses a statement: .*\(error {number}\)"):
                connection.execute_text(statement)
    assert new_content(old) == before


# Databases that are refused and left unchanged.


def test_a_database_of_a_newer_version_is_refused(old: Settings, tmp_path: Path) -> None:
    schema.prepare(old)
    execute(old, f"INSERT INTO orders_schema VALUES ({LATEST + 1}, UTC_TIMESTAMP())")
    execute(old, "ALTER TABLE orders_quarantine DROP COLUMN chunks")  # an example of a change by that version
    before = structure(old)
    sentence = f"have schema version {LATEST + 1}, and this version of OrderFlow supports versions up to {LATEST}."
    for check in (schema.missing_steps, schema.prepare):
        with pytest.raises(SchemaTooNew, match=re.escape(sentence)):
            check(old)
    for command in (["init"], ["init", "--dry-run"], ["sink", "--engine", "direct", "--once"]):
        result = run(old, *command, cwd=tmp_path)
        assert result.returncode == 2, result.stderr
        assert sentence in " ".join(result.stderr.split())
        assert "Traceback" not in result.stderr
    assert structure(old) == before


def test_the_hint_fixes_a_difference_named_by_its_current_name(old: Settings) -> None:
    before = old_content(old)
    execute(old, "ALTER TABLE orders_record_parts ENGINE = MyISAM")
    execute(old, "ALTER TABLE orders_quarantine MODIFY mended_value BLOB")
    with pytest.raises(
        TableDrifted, match=r"column mended_value is blob, not longblob.*orders_record_parts"
    ) as drifted:
        schema.prepare(old)
    assert old_content(old) == before
    for statement in re.findall(r"ALTER TABLE [^;]*", drifted.value.hint):
        execute(old, statement)
    schema.prepare(old)
    assert new_content(old) == before


def test_an_older_backup_in_a_newer_database_is_refused_with_a_fix(database: Settings) -> None:
    """mysqldump restores only the tables it contains. The other tables of the newer version remain."""
    schema.prepare(database)
    for table in ("orders_quarantine", "orders_ledger"):
        execute(database, f"DROP TABLE {table}")
    run_script(database, CREATED + ROWS)
    before = old_content(database)
    with pytest.raises(TableDrifted, match="orders_quarantine lacks the columns corrected_value, chunks") as drifted:
        schema.prepare(database)
    assert "If it is from an older backup, delete all rows of orders_schema, then" in drifted.value.hint
    execute(database, "DELETE FROM orders_schema")
    with pytest.raises(TableDrifted, match="but orders_quarantine_chunks exists") as drifted:
        schema.prepare(database)
    execute(database, re.findall(r"DROP TABLE [^;]*", drifted.value.hint)[0])
    schema.prepare(database)
    assert new_content(database) == before


def test_a_user_who_may_not_change_tables_gets_a_hint(old: Settings) -> None:
    user = f"sink_{old.mysql_database[-12:]}"
    execute(old, f"CREATE USER {user}@'%' IDENTIFIED BY 'secret'")
    try:
        execute(old, f"GRANT SELECT, INSERT, UPDATE, CREATE ON {old.mysql_database}.* TO {user}@'%'")
        sink = msgspec.structs.replace(old, mysql_user=user, mysql_password="secret")
        with pytest.raises(DatabaseRefused, match=r"^migration 2 .* is missing, and its statement failed") as refused:
            schema.prepare(sink)
        assert "orderflow init --dry-run" in refused.value.hint
        schema.prepare(old)
        assert schema.prepare(sink) == []
    finally:
        execute(old, f"DROP USER {user}@'%'")
