"""Migrations are numbered without gaps, and their statements are parsed correctly."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from orderflow.errors import TableDrifted
from orderflow.settings import Settings
from orderflow.store import migrations, statements
from orderflow.store.migrations import LATEST, MIGRATIONS
from orderflow.store.table_definition import parse_table

SQL = Path(__file__).parents[2] / "src/orderflow/store/sql/migrations"
SETTINGS = Settings(mysql_table="shop")
QUARANTINE = {"quarantine_id", "record_value", "resolved_because", "mended_value", "parts"}
CHUNKS = {"topic_id", "part", "bytes"}
LEDGER = {"topic", "next_offset", "lost", "times_rows", "times_sum"}


def test_migration_numbers_have_no_gap() -> None:
    assert [int(name.split("_")[0]) for name in MIGRATIONS] == [*range(1, LATEST + 1)]
    assert sorted(path.stem for path in SQL.iterdir()) == [*MIGRATIONS]


def test_version_0_1_0_needs_the_migrations_from_3_on() -> None:
    columns = {"shop_quarantine": QUARANTINE, "shop_record_parts": CHUNKS, "shop_ledger": LEDGER}
    needed = migrations.pending_migrations(SETTINGS, 0, columns)
    assert [(migration.number, migration.table, migration.new_name, migration.renamed) for migration in needed] == [
        (3, "shop_quarantine", "shop_quarantine", {"mended_value": "corrected_value", "parts": "chunks"}),
        (4, "shop_record_parts", "shop_quarantine_chunks", {"part": "chunk_index"}),
        (5, "shop_ledger", "shop_ledger", {}),
        (6, "shop_quarantine", "shop_quarantine", {}),
        (7, "shop_ledger", "shop_ledger", {}),
        (8, "shop_quarantine", "shop_quarantine", {}),
    ]
    assert migrations.pending_migrations(SETTINGS, 3, columns) == needed[1:]
    assert migrations.pending_migrations(SETTINGS, LATEST, columns) == []
    assert migrations.former_names(SETTINGS) == {"shop_record_parts"}


def test_one_migration_builds_on_another() -> None:
    """The first version lacks a column that migration 3 renames, so migration 1 adds it."""
    needed = migrations.pending_migrations(SETTINGS, 0, {"shop_quarantine": {"quarantine_id", "record_value"}})
    assert [migration.number for migration in needed] == [1, 3, 6, 8]
    latest = parse_table(statements.sql("create_quarantine", SETTINGS))
    name, definition = migrations.definition_before("shop_quarantine", latest, needed)
    assert name == "shop_quarantine"
    added = {"resolved_because", "corrected_value", "chunks", "contract_id", "reason_contract_id"}
    assert {*latest.columns} - {*definition.columns} == added


def test_the_definition_before_has_the_former_names() -> None:
    needed = migrations.pending_migrations(SETTINGS, 0, {"shop_record_parts": CHUNKS})
    latest = parse_table(statements.sql("create_chunks", SETTINGS))
    name, definition = migrations.definition_before("shop_quarantine_chunks", latest, needed)
    assert (name, definition.primary_key) == ("shop_record_parts", "topic_id,kafka_partition,kafka_offset,field,part")
    assert [*definition.columns][-2:] == ["part", "bytes"]
    assert migrations.definition_before("shop_ledger", latest, needed) == ("shop_ledger", latest)


def test_a_migration_that_is_half_done_by_hand_is_not_repeated() -> None:
    columns = {"shop_quarantine": QUARANTINE - {"parts"} | {"chunks"}}
    assert [migration.number for migration in migrations.pending_migrations(SETTINGS, 0, columns)] == [6, 8]


def test_a_table_with_both_names_is_refused() -> None:
    with pytest.raises(TableDrifted, match="shop_record_parts to shop_quarantine_chunks, but"):
        migrations.pending_migrations(SETTINGS, 0, {"shop_record_parts": CHUNKS, "shop_quarantine_chunks": CHUNKS})


def test_the_longest_table_name_fits() -> None:
    longest = msgspec.convert({"mysql_table": "x" * 46}, Settings)
    assert max(map(len, statements.table_names(longest).values())) == 64
    with pytest.raises(msgspec.ValidationError, match="mysql_table"):
        msgspec.convert({"mysql_table": "x" * 47}, Settings)
