"""The SQL files: each has a purpose and is used, and each name in the code has exactly one file."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from orderflow.settings import Settings
from orderflow.store import statements
from orderflow.store.tables import TABLES

ROOT = Path(__file__).parents[2]
SQL = ROOT / "src/orderflow/store/sql"
FILES = {"store": SQL, "benchmarks": ROOT / "benchmarks/sql"}
EXECUTING = {"execute", "execute_rows", "execute_each", "sql", "_orders", "_quarantined"}


def trees() -> Iterator[ast.AST]:
    for path in (ROOT / "src").rglob("*.py"):
        yield ast.parse(path.read_text("utf-8"))


def texts(tree: ast.AST) -> set[str]:
    """Return every constant string in the code."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def executed(tree: ast.AST) -> Iterator[str]:
    """Yield the names passed to a function that executes or formats a statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for argument in node.args[:2] if function in EXECUTING else ():
                name = argument.value if isinstance(argument, ast.Constant) else None
                if isinstance(name, str) and re.fullmatch(r"[a-z]+(_[a-z]+)*", name):
                    yield name


@pytest.mark.parametrize("folder", FILES.values(), ids=FILES)
def test_each_file_states_its_purpose_in_its_first_line(folder: Path) -> None:
    purposes = {path.stem: path.read_text("utf-8").splitlines()[0] for path in folder.rglob("*.sql")}
    assert [name for name, line in purposes.items() if not re.fullmatch(r"-- [A-Z].{10,110}\.", line)] == []
    assert [line for line, count in Counter(purposes.values()).items() if count > 1] == []


def test_each_name_has_one_file_in_a_folder() -> None:
    names = Counter(path.stem for path in SQL.rglob("*.sql"))
    assert names.keys() == statements.files().keys()
    assert [name for name, count in names.items() if count > 1] == []
    assert [*SQL.glob("*.sql")] == []


def test_each_file_is_used() -> None:
    used = set[str]().union(*map(texts, trees())) | {table.create for table in TABLES}
    assert statements.files().keys() - used == set()


def test_each_name_in_the_code_has_a_file() -> None:
    names = {name for tree in trees() for name in executed(tree)} | {table.create for table in TABLES}
    assert names - statements.files().keys() == set()
    assert len(names) > 80


def test_the_server_gets_no_comment() -> None:
    text = (SQL / "ledger/advance_ledger.sql").read_text("utf-8")
    assert text.startswith("-- ")
    assert statements.without_comment(text).startswith("INSERT INTO {ledger}")
    assert "updated_at = VALUES(updated_at)" in statements.without_comment(text).splitlines()[-1]
    filled = statements.sql("advance_ledger", Settings(), rows="(NULL)")
    assert filled.startswith("INSERT INTO `orders_ledger` (topic,")
    assert "--" not in filled


@pytest.mark.parametrize("folder", FILES.values(), ids=FILES)
def test_values_have_names_except_where_a_list_is_filled_in(folder: Path) -> None:
    """The client accepts named or positional values, never both in one statement. Only lists need positions."""
    for path in folder.rglob("*.sql"):
        text = path.read_text("utf-8")
        has_list = re.search(r"\{(rows|values|ids|partitions|tables|categories|names)\}", text) is not None
        assert ("%s" not in text) or has_list, path.name
        assert ("%(" not in text) or not has_list, path.name
        assert {*re.findall(r"%[^s(]|%\([^)]*\)[^s]", text)} == set(), path.name


def test_a_comment_for_one_server_is_no_purpose() -> None:
    assert "/*!80000" in statements.sql("set_session", Settings())
