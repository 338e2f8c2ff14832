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
from tests.corpus import SAMPLE
from tests.integration.test_store import commit, run_of
from tests.sql import execute, select

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


def follow(settings: Settings, text: str) -> Settings:
    """Store a record by this contract, for which the tables are prepared."""
    settings = msgspec.structs.replace(settings, order_contract="stored.toml", order_contract_text=text)
    schema.prepare(settings)
    [(position,)] = select(settings, "SELECT COALESCE(MAX(next_offset), 0) FROM orders_ledger")
    commit(settings, run_of([SAMPLE], int(position)))
    return settings


def definition(settings: Settings) -> str:
    return str(select(settings, "SHOW CREATE TABLE orders")[0][1])


def test_without_tables_everything_is_missing(diff: Diff) -> None:
    found = diff(FIRST)
    assert found.exit_code == 1
    assert "CREATE TABLE" in found.stdout and "`currency` VARCHAR(3)" in found.stdout


def test_a_new_field_and_a_longer_text(database: Settings, diff: Diff) -> None:
    follow(database, FIRST)
    before = definition(database)
    same = diff(FIRST)
    assert (same.exit_code, same.stdout.splitlines()[1:]) == (0, ["No difference."])
    found = diff(SECOND)
    assert found.exit_code == 1
    lines = found.stdout.splitlines()
    assert lines[0] == f"{database.mysql_database}.orders is at contract version 1."
    assert (
        "possible: column currency becomes VARCHAR(10) CHARACTER SET utf8mb4, from VARCHAR(3) CHARACTER SET utf8mb4"
        in (lines)
    )
    assert any(line.startswith("possible: new column line_items MEDIUMTEXT") for line in lines)
    assert "  MODIFY COLUMN `currency` VARCHAR(10) CHARACTER SET utf8mb4 NULL," in lines
    assert any(line.startswith("  ADD COLUMN `line_items` MEDIUMTEXT") for line in lines)
    assert definition(database) == before
    follow(database, SECOND)
    assert diff(SECOND).exit_code == 0
    assert "COMMENT 'as sent'" in definition(database)


def test_what_is_impossible_has_its_steps(database: Settings, diff: Diff) -> None:
    follow(database, SECOND)
    before = definition(database)
    found = diff(IMPOSSIBLE)
    assert isinstance(found.exception, ContractInvalid)
    assert found.exception.exit_code == 2
    lines = found.stdout.splitlines()
    assert "impossible: column line_items is no longer in the contract" in lines
    assert "  Keep the table of such a field with required = false:" in found.stdout
    assert any(line.startswith("impossible: column currency would change from VARCHAR(10)") for line in lines)
    assert any(line.startswith("possible: order_id: ") for line in lines)
    assert "ALTER TABLE" not in found.stdout
    default = diff(None)
    assert isinstance(default.exception, ContractInvalid) and "ORDER_CONTRACT is not set" in default.exception.message
    assert definition(database) == before


def test_only_an_example_differs(database: Settings, diff: Diff) -> None:
    follow(database, FIRST)
    found = diff(FIRST + 'examples = ["EUR"]\ncomment = "ISO 4217"\n')
    assert (found.exit_code, found.stdout.splitlines()[1:]) == (0, ["No difference."])


def test_only_the_order_of_fields_differs(database: Settings, diff: Diff) -> None:
    own = ['[fields.a]\ntype = "boolean"\n', '[fields.b]\ntype = "boolean"\n']
    follow(database, "".join(own))
    found = diff("".join(reversed(own)))
    assert found.exit_code == 1
    assert "-- contract version 2" in found.stdout and "ALTER TABLE" not in found.stdout


@pytest.mark.parametrize(
    ("before", "after", "becomes"),
    [
        ('type = "integer"', 'type = "integer"\nmaximum = 9000000000', "BIGINT"),
        ('type = "decimal"', 'type = "decimal"\nprecision = 14\nscale = 4', "DECIMAL(14,4)"),
        ('type = "timestamp"', 'type = "timestamp"\ndigits = 3', "DATETIME(3)"),
        ('type = "string"', 'type = "string"\nmax_length = 5000', "MEDIUMTEXT"),
    ],
)
def test_a_type_that_a_person_widens(database: Settings, diff: Diff, before: str, after: str, becomes: str) -> None:
    follow(database, f"[fields.extra]\n{before}\n")
    found = diff(f"[fields.extra]\n{after}\n")
    assert f"possible: column extra becomes {becomes}" in found.stdout
    assert isinstance(found.exception, TableDrifted)
    [statement] = re.findall(r"(ALTER TABLE .*?);", found.exception.hint)
    execute(database, statement)
    assert diff(f"[fields.extra]\n{after}\n").exit_code == 1
    follow(database, f"[fields.extra]\n{after}\n")
    assert diff(f"[fields.extra]\n{after}\n").exit_code == 0
