"""What README says of settings and contract is what the code says, and every command that is shown exists."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import msgspec
import pytest
import typer

from orderflow import cli, order, settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").rglob("*.service"))
DAGS = ROOT / "examples/airflow/orderflow_dags.py"


def _rows(section: str) -> list[list[str]]:
    [table] = re.findall(rf"<!-- {section}: .*?-->\n(.*?)<!-- /{section} -->", README, re.DOTALL)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_settings_table() -> None:
    expected = [[name, f"`{default}`" if default else "", text] for name, default, text in settings.table()]
    assert _rows("settings") == expected


def test_contract_table() -> None:
    info = msgspec.inspect.type_info(order.Order)
    assert isinstance(info, msgspec.inspect.StructType)
    rules = {field.name: field.type.extra_json_schema["description"] for field in info.fields}  # type: ignore[union-attr,index]
    for name, _json, column, rule in _rows("contract"):
        assert rule == rules.pop(name)
        assert order.columns()[name].startswith(column)
    assert not rules


def test_the_sample_is_accepted() -> None:
    [sample] = re.findall(r"```json\n(.*?)\n```", README)
    assert order.decode(sample.encode()).order_id == "ORDER-000001"


def test_every_reason_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs/quarantine.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \| .* \| .* \|$", page.split("<!-- /reasons -->")[0], re.MULTILINE) == [
        *order.Reason
    ]


def commands(text: str) -> Iterator[list[str]]:
    """Every `orderflow …` that stands in a block of code, between backticks, or behind ExecStart."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    units = re.findall(r"^ExecStart=(.*)", text, re.MULTILINE)
    spans = re.findall(r"`(orderflow [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in (*(line for block in blocks for line in block.splitlines()), *units, *spans):
        if not re.search(r"(^|[\s/;|])orderflow ", line):
            continue
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in (*lexer, ";"):
            if not set(word) <= set("();<>|&"):
                words.append(word)
                continue
            while words and re.match(r"[A-Z_]+=", words[0]):  # the environment before a command
                del words[0]
            if words and Path(words[0]).name == "orderflow":
                yield ["orderflow", *words[1:]]
            words = []


def complaint(words: list[str]) -> str:
    """What the command would say of its command line; empty if it is right. Nothing is run."""
    usage_error = typer.BadParameter.__base__
    assert usage_error
    command, context, (name, *arguments) = typer.main.get_command(cli.app), None, words
    try:
        with mock.patch.dict(os.environ):  # --log-format sets a variable
            while isinstance(command, typer.core.TyperGroup) and arguments:
                context = command.make_context(name, arguments, parent=context)
                rest = [*context._protected_args, *context.args]
                name, command, arguments = command.resolve_command(context, rest)
            if not isinstance(command, typer.core.TyperGroup):
                command.make_context(name, arguments, parent=context)
    except typer.Exit:  # --help and --version
        return ""
    except usage_error as error:
        return str(error)
    return ""


def test_the_commands_of_the_pages_exist() -> None:
    shown = {(page.name, *words) for page in PAGES for words in commands(page.read_text("utf-8"))}
    numbered = {words: ["1" if word == "N" else word for word in words[1:]] for words in shown}
    assert {words: told for words, plain in numbered.items() if (told := complaint(plain))} == {}
    assert len(shown) > 50


@pytest.mark.parametrize("wrong", ["orderflow sinc", "orderflow sink --onze", "orderflow contract --format yaml"])
def test_a_wrong_command_is_noticed(wrong: str) -> None:
    [words] = commands(f"```\n$ A=1 {wrong} > file\n```\n")
    assert words == wrong.split()
    assert words[-1] in complaint(words)


def test_the_commands_of_the_dags_exist() -> None:
    tree = ast.parse(DAGS.read_text("utf-8"))
    nodes = [*ast.walk(tree)]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    lists = [
        [str(element.value) if isinstance(element, ast.Constant) else "2025-01-15" for element in node.elts]
        for node in nodes
        if isinstance(node, ast.List)
    ]
    run = [shlex.split(text) for text in texts if text.startswith("orderflow ")]
    run += [words for words in lists if words[0] == "orderflow"]
    assert sorted(words[1] for words in run) == ["audit", "quarantine", "sink"]
    assert [complaint(words) for words in run] == [""] * len(run)


def test_the_sentences_of_the_runbook_are_said() -> None:
    runbook = (ROOT / "docs/operations.md").read_text("utf-8").split("## Runbook")[1].split("### The doctor")[0]
    sentences = re.findall(r"^\| (.*?) \| .* \|$", runbook.replace("| it says |", ""), re.MULTILINE)
    said = {
        node.value
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    parts = [part.strip(" .:;,") for sentence in sentences for part in re.split(r"…|; | \d+ ", sentence)]
    assert [part for part in parts if not any(part in text for text in said)] == []
    assert len(sentences) > 30
