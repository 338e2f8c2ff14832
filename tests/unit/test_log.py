"""Log lines as JSON: one object per line, for any log message and every command."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.processes import run_orderflow, run_python


def test_a_json_log_line_has_the_extra_attributes(tmp_path: Path) -> None:
    program = (
        "import logging, pathlib, threading; from orderflow.cli import logs; logs.setup(pathlib.Path('the.log'))\n"
        "logger = logging.getLogger('orderflow.here')\n"
        "extra = {'lag': 7, 'path': pathlib.Path('x')}\n"
        "warn = lambda: logger.warning('%s waits', 'a\\x1b[31m\\u202e\\nb', extra=extra)\n"
        "worker = threading.Thread(target=warn, name='worker')\n"
        "worker.start(); worker.join()\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logger.exception('it broke')\n"
    )
    result = run_python("-c", program, cwd=tmp_path, TZ="Asia/Tokyo", LOG_FORMAT="json")
    assert result.stderr == (tmp_path / "the.log").read_text()
    assert result.stderr.isascii() and "\x1b" not in result.stderr
    first, second = map(json.loads, result.stderr.splitlines())
    logged_at = datetime.fromisoformat(first.pop("time"))
    assert logged_at.utcoffset() == UTC.utcoffset(None) and abs((datetime.now(UTC) - logged_at).total_seconds()) < 60
    assert first == {
        "level": "warning",
        "logger": "orderflow.here",
        "thread": "worker",
        "message": "a\x1b[31m\u202e\nb waits",
        "lag": 7,
        "path": "x",
    }
    assert second["message"] == "it broke" and "ZeroDivisionError: division by zero" in second["exception"]


@pytest.mark.parametrize("dotenv", [True, False])
def test_an_error_is_a_json_log_line(tmp_path: Path, dotenv: bool) -> None:
    if dotenv:
        (tmp_path / ".env").write_text("LOG_FORMAT=json")
    option = [] if dotenv else ["--log-format", "json"]
    result = run_orderflow("produce", *option, cwd=tmp_path, STARTING_ORDER_ID="x")
    assert result.returncode == 2 and result.stdout == ""
    [line] = result.stderr.splitlines()
    logged = json.loads(line)
    assert (logged["level"], logged["error"]) == ("error", "SettingInvalid")
    assert logged["message"].startswith("STARTING_ORDER_ID is 'x'") and logged["hint"].startswith(
        "Set STARTING_ORDER_ID"
    )


@pytest.mark.parametrize("command", ["sink", "produce", "dashboard", "up", "audit"])
def test_the_option_exists_and_refuses_other_formats(tmp_path: Path, command: str) -> None:
    result = run_orderflow(command, "--log-format", "xml", cwd=tmp_path)
    assert result.returncode == 2 and "'xml' is not one of" in result.stderr
    result = run_orderflow(command, cwd=tmp_path, LOG_FORMAT="xml")
    assert result.returncode == 2 and result.stderr.startswith("error: LOG_FORMAT is 'xml'")
