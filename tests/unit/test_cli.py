"""What all commands share: help, errors as sentences, and the log format."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from orderflow import cli
from orderflow.cli import context
from orderflow.cli.text import to_json
from orderflow.errors import FileUnusable
from orderflow.jvm import cache
from tests.support.processes import run_orderflow, run_python

ROOT = Path(__file__).parents[2]


def test_help_imports_nothing_slow(tmp_path: Path) -> None:
    loaded = run_python("-c", "import sys, orderflow.cli; print(*sys.modules)", cwd=tmp_path).stdout.split()
    assert "typer" in loaded
    assert not {"pyspark", "pyarrow", "confluent_kafka", "mysql.connector", "rich.progress"} & set(loaded)
    assert run_orderflow("--help", cwd=tmp_path).returncode == 0


def test_an_error_is_a_sentence_and_a_hint(tmp_path: Path) -> None:
    result = run_orderflow("produce", cwd=tmp_path, STARTING_ORDER_ID="\x1b[31mred")
    assert result.returncode == 2
    assert result.stdout == ""
    assert re.match(r"error: STARTING_ORDER_ID is .*\nhint: Set STARTING_ORDER_ID", result.stderr)
    assert "Traceback" not in result.stderr and "\x1b" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bad", "0.6", "--repeat", "0.6"],
        ["--bad", "2"],
        ["--count", "0"],
        ["--rate", "-1"],
        ["--file", "orders.csv", "--seed", "0"],
    ],
)
def test_arguments_that_make_no_sense_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    result = run_orderflow("produce", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("master", [[], ["--master", "local[2]"]])
def test_packages_are_sent_only_to_a_cluster(master: list[str]) -> None:
    result = CliRunner().invoke(cli.app, ["sink", "--ship", *master])
    assert result.exit_code == 2
    assert "--ship sends packages to a cluster" in result.output


def test_an_option_overrides_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORDERFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("SINK_TRIGGER", "wrong")
    assert context.load({"SINK_TRIGGER": "auto"}).sink_trigger == "auto"
    assert os.environ["SINK_TRIGGER"] == "wrong"


def test_a_missing_file_is_reported_before_kafka_is_contacted(tmp_path: Path) -> None:
    result = run_orderflow("produce", "--file", "no\x1bne.csv", cwd=tmp_path, KAFKA_BOOTSTRAP_SERVERS="localhost:1")
    assert result.returncode == 2
    assert result.stderr.startswith("error: no\\x1bne.csv cannot be read: No such file or directory.\nhint: ")


def test_log_lines_are_in_utc_and_harmless(tmp_path: Path) -> None:
    program = (
        "import logging, pathlib; from orderflow.cli import logs; logs.setup(pathlib.Path('the.log'))\n"
        "logging.getLogger('orderflow.here').warning('%s', 'a\\x1b[31m [red]b\\nc')"
    )
    result = run_python("-c", program, cwd=tmp_path, TZ="Asia/Tokyo")
    assert result.stderr == (tmp_path / "the.log").read_text()
    logged_at = datetime.strptime(result.stderr[:20], "%Y-%m-%dT%H:%M:%S%z")
    assert abs((datetime.now(UTC) - logged_at).total_seconds()) < 60
    assert result.stderr[20:] == " WARNING a\\x1b[31m [red]b\\nc\n"


def test_a_log_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "kafka_producer.log").mkdir()
    result = run_orderflow("produce", cwd=tmp_path, KAFKA_BOOTSTRAP_SERVERS="localhost:1", KAFKA_CONNECT_ATTEMPTS="1")
    assert "kafka_producer.log cannot be written" in result.stderr
    assert "Attempt 1 of 1" in result.stderr


def test_the_version_is_shown(tmp_path: Path) -> None:
    assert run_orderflow("--version", cwd=tmp_path).stdout.startswith("orderflow")


def options(command: Any, name: str = "orderflow") -> Iterator[tuple[str, str, type]]:
    """Yield command, option and type of every numeric option."""
    for child in getattr(command, "commands", {}).values():
        yield from options(child, f"{name} {child.name}")
    for param in command.params:
        kind = re.search(r"\b(int|float)\b", str(getattr(param, "type_descriptor", "")))
        if kind and param.opts[0].startswith("--"):
            yield name, param.opts[0], {"int": int, "float": float}[kind[1]]


NUMBERS = list(options(typer.main.get_command(cli.app)))


@pytest.mark.parametrize(("name", "option", "kind"), NUMBERS)
def test_numbers_out_of_range_are_refused(name: str, option: str, kind: type) -> None:
    command, context = typer.main.get_command(cli.app), None
    usage_error = typer.BadParameter.__base__
    assert usage_error
    needed = ["--because=x"] if name.endswith("discard") else []
    for word in name.split()[1:]:
        context = command.make_context("orderflow", [word], parent=context)
        command = command.commands[word]  # type: ignore[attr-defined]
    for value in ("nan", "inf", "-inf", "1e999") if kind is float else (str(2**63), "-" + "9" * 40, "9" * 5000):
        with pytest.raises(usage_error) as caught:
            command.make_context(command.name, [f"{option}={value}", *needed], parent=context)
        assert "Missing" not in str(caught.value)


def test_all_numeric_options_are_tested() -> None:
    assert ("orderflow produce", "--rate", float) in NUMBERS and ("orderflow init", "--partitions", int) in NUMBERS
    assert len(NUMBERS) > 15


def test_an_argument_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    lines: list[list[str | bytes]] = [["track", b"1\xe4"], ["quarantine", "discard", "1", "--because", b"\xe4"]]
    for words in lines:
        result = run_orderflow(*map(os.fsdecode, words), cwd=tmp_path)
        assert result.returncode == 2 and "is not UTF-8" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "words", [["accept-loss"], ["quarantine", "replay", "--all"], ["quarantine", "discard", "1", "--because", "a test"]]
)
def test_a_name_that_no_column_can_record_is_refused(tmp_path: Path, words: list[str]) -> None:
    result = run_orderflow(*words, "--by", "é" * 256, cwd=tmp_path, KAFKA_BOOTSTRAP_SERVERS="localhost:1")
    assert result.returncode == 2 and "--by must not exceed 255 characters" in result.stderr, result


def test_no_color_removes_the_colors(tmp_path: Path) -> None:
    environ = {"FORCE_COLOR": "1", "STARTING_ORDER_ID": "x"}
    assert "\x1b[1;31m" in run_orderflow("produce", cwd=tmp_path, **environ).stderr
    for words in (["produce"], ["--help"], ["produce", "--nothing"]):
        result = run_orderflow(*words, cwd=tmp_path, NO_COLOR="1", **environ)
        assert not re.search(r"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-9])m", result.stdout + result.stderr)


def test_json_output_is_ascii() -> None:
    value = {"a": "\x7f\x9b\u202e\u2028\u00e9\U0001f600\\u", "b": b"\xff", "c": [1, None]}
    line = to_json(value)
    assert line.isascii() and line.isprintable()
    assert json.loads(line) == value | {"b": "/w=="}
    assert to_json([b"a\xff".decode(errors="surrogateescape")]) == '["a\\udcff"]'


def helps(command: Any, name: str = "orderflow") -> Iterator[tuple[str, str]]:
    """Yield each command that can run by itself, and its help."""
    children = getattr(command, "commands", {}).values()
    for child in children:
        yield from helps(child, f"{name} {child.name}")
    if not children:
        yield name, command.help


HELPS = dict(helps(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("name", HELPS)
def test_every_command_documents_its_exit_codes_with_an_example(name: str) -> None:
    exit_codes, _, examples = HELPS[name].partition("Exit codes: ")[2].partition("\n\nExample")
    assert re.match(r"0 .*; 2 ", exit_codes, re.DOTALL)
    assert f"`{name}" in examples or f" {name}" in examples


def test_the_exit_codes_are_documented_in_one_place(tmp_path: Path) -> None:
    shown = " ".join(run_orderflow("--help", cwd=tmp_path, COLUMNS="200").stdout.split())
    page = (ROOT / "docs/operations.md").read_text("utf-8").split("## Exit codes")[1].split("## ")[0]
    codes = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert codes == ["0", "1", "2", "3", "130"]
    assert re.search("Exit codes.*" + ".*".join(codes), shown)


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.path() == tmp_path / ".cache/orderflow"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(FileUnusable, match=r"cannot be created: Not a directory") as caught:
        cache.folder()
    assert "XDG_CACHE_HOME" in caught.value.hint
