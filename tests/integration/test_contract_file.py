"""`orderflow contract diff` on real servers: what a contract file would change, and that nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from orderflow import cli
from orderflow.errors import ContractInvalid, TableDrifted
from orderflow.settings import Settings
from orderflow.store import schema
from tests.support.corpus import SAMPLE
from tests.support.feeder import batch_of, commit
from tests.support.sql import execute, select

FIRST = """
[order_id]
key = "name"
pattern = '#[0-9]{4,10}'

[fields.currency]
type = "string"
max_length = 3
"""
SECOND = (
    FIRST.replace("max_length = 3", "max_length = 10")
    + """
[fields.line_items]
type = "json"
required = false
comment = "as sent"
"""
)
IMPOSSIBLE = """
[fields.currency]
type = "string"
max_length = 2
"""
Diff = Callable[[str | None], Result]


@pytest.fixture
def diff(database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Diff:
    """Return the function that compares a contract (None: the default one) with that of the database."""
    monkeypatch.chdir(tmp_path)
    for name in ("host", "port", "user", "password", "database"):
        monkeypatch.setenv(f"MYSQL_{name.upper()}", str(getattr(database, f"mysql_{name}")))
    path = tmp_path / "new.toml"

    def run(text: str | None) -> Result:
        path.write_text(text or "")
        return CliRunner().invoke(cli.app, ["contract", "diff", *([str(path)] if text is not None else [])])

    return run


def store_by(settings: Settings, text: str) -> Settings:
    """Store a record by this contract, for which the tables are prepared."""
    settings = msgspec.structs.replace(settings, order_contract="stored.toml", order_contract_text=text)
    schema.prepare(settings)
    [(position,)] = select(settings, "SELECT COALESCE(MAX(next_offset), 0) FROM orders_ledger")
    commit(settings, batch_of([SAMPLE], int(position)))
    return settings


def definition(settings: Settings) -> str:
    return str(select(settings, "SHOW CREATE TABLE orders")[0][1])


def test_without_tables_everything_is_missing(diff: Diff) -> None:
    result = diff(FIRST)
    assert result.exit_code == 1
    assert "CREATE TABLE" in result.stdout and "`currency` VARCHAR(3)" in result.stdout


def test_a_new_field_and_a_longer_text_are_possible(database: Settings, diff: Diff) -> None:
    store_by(database, FIRST)
    before = definition(database)
    same = diff(FIRST)
    assert (same.exit_code, same.stdout.splitlines()[1:]) == (0, ["No difference."])
    result = diff(SECOND)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == f"{database.mysql_database}.orders is at contract version 1."
    assert (
        "possible: column currency becomes VARCHAR(10) CHARACTER SET utf8mb4, from VARCHAR(3) CHARACTER SET utf8mb4"
        in (lines)
    )
    assert any(line.startswith("possible: new column line_items MEDIUMTEXT") for line in lines)
    assert "  MODIFY COLUMN `currency` VARCHAR(10) CHARACTER SET utf8mb4 NULL," in lines
    assert any(line.startswith("  ADD COLUMN `line_items` MEDIUMTEXT") for line in lines)
    assert definition(database) == before
    store_by(database, SECOND)
    assert diff(SECOND).exit_code == 0
    assert "COMMENT 'as sent'" in definition(database)


def test_an_impossible_change_is_shown_with_its_steps(database: Settings, diff: Diff) -> None:
    store_by(database, SECOND)
    before = definition(database)
    result = diff(IMPOSSIBLE)
    assert isinstance(result.exception, ContractInvalid)
    assert result.exception.exit_code == 2
    lines = result.stdout.splitlines()
    assert "impossible: column line_items is no longer in the contract" in lines
    assert "  Keep the table of each removed field in the contract file, with required = false:" in result.stdout
    assert any(line.startswith("impossible: column currency would change from VARCHAR(10)") for line in lines)
    assert any(line.startswith("possible: order_id: ") for line in lines)
    assert "ALTER TABLE" not in result.stdout
    default = diff(None)
    assert isinstance(default.exception, ContractInvalid) and "ORDER_CONTRACT is not set" in default.exception.message
    assert definition(database) == before


def test_a_different_example_is_no_difference(database: Settings, diff: Diff) -> None:
    store_by(database, FIRST)
    result = diff(FIRST + 'examples = ["EUR"]\ncomment = "ISO 4217"\n')
    assert (result.exit_code, result.stdout.splitlines()[1:]) == (0, ["No difference."])


def test_another_order_of_the_fields_is_a_new_version(database: Settings, diff: Diff) -> None:
    own = ['[fields.a]\ntype = "boolean"\n', '[fields.b]\ntype = "boolean"\n']
    store_by(database, "".join(own))
    result = diff("".join(reversed(own)))
    assert result.exit_code == 1
    assert "-- contract version 2" in result.stdout and "ALTER TABLE" not in result.stdout


@pytest.mark.parametrize(
    ("before", "after", "becomes"),
    [
        ('type = "integer"', 'type = "integer"\nmaximum = 9000000000', "BIGINT"),
        ('type = "decimal"', 'type = "decimal"\nprecision = 14\nscale = 4', "DECIMAL(14,4)"),
        ('type = "timestamp"', 'type = "timestamp"\ndigits = 3', "DATETIME(3)"),
        ('type = "string"', 'type = "string"\nmax_length = 5000', "MEDIUMTEXT"),
    ],
)
def test_a_type_change_for_the_operator_is_shown_as_a_statement(
    database: Settings, diff: Diff, before: str, after: str, becomes: str
) -> None:
    store_by(database, f"[fields.extra]\n{before}\n")
    result = diff(f"[fields.extra]\n{after}\n")
    assert f"possible: column extra becomes {becomes}" in result.stdout
    assert isinstance(result.exception, TableDrifted)
    [statement] = re.findall(r"(ALTER TABLE .*?);", result.exception.hint)
    execute(database, statement)
    assert diff(f"[fields.extra]\n{after}\n").exit_code == 1
    store_by(database, f"[fields.extra]\n{after}\n")
    assert diff(f"[fields.extra]\n{after}\n").exit_code == 0
