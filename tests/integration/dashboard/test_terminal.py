"""What the dashboard shows, in a terminal: `track`, `status` and `top`."""

from __future__ import annotations

import os
import pty
import signal
import sys
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from orderflow.settings import Settings
from tests.support.corpus import quoted
from tests.support.dashboards import HOSTILE
from tests.support.feeder import Feeder, order
from tests.support.processes import run, running, until
from tests.support.sql import select


def test_track_shows_the_same_in_a_terminal(flow: Settings, feeder: Feeder, tmp_path: Path) -> None:
    result = run(flow, "track", "5", cwd=tmp_path)
    assert result.returncode == 0 and "partition 0, offset 4" in result.stdout and "conflict" in result.stdout
    hostile = run(flow, "track", "ORDER-000666", cwd=tmp_path)
    assert r"\x1b[31m\u202ered" in hostile.stdout and "\x1b" not in hostile.stdout
    as_json = msgspec.json.decode(run(flow, "track", "5", "--json", cwd=tmp_path).stdout)
    [(total,)] = select(flow, "SELECT total_price FROM orders WHERE order_id = 'ORDER-000005'")
    assert Decimal(as_json["order"]["total_price"]) == total
    assert run(flow, "track", "99999999", cwd=tmp_path).returncode == 1
    assert run(flow, "track", "nonsense", cwd=tmp_path).returncode == 2


def test_status_shows_what_is_open_in_the_quarantine(flow: Settings, feeder: Feeder, tmp_path: Path) -> None:
    by_reason = dict(
        select(
            flow, "SELECT reason, COUNT(*) FROM orders_quarantine WHERE status = 'open' GROUP BY 1 ORDER BY 2 DESC, 1"
        )
    )
    assert msgspec.json.decode(run(flow, "status", "--json", cwd=tmp_path).stdout)["open_by_reason"] == by_reason
    listed = ", ".join(f"{count} {reason}" for reason, count in by_reason.items())
    assert f"\nOpen in quarantine: {listed}\n" in run(flow, "status", cwd=tmp_path).stdout


def test_watch_continues_until_it_is_stopped(flow: Settings, feeder: Feeder, tmp_path: Path) -> None:
    with running(flow, "status", "--watch", "--json", folder=tmp_path) as process:
        until(lambda: process.log.exists() and process.log.read_text().count('"stored":') > 1, process)
        os.kill(process.identity[0], signal.SIGINT)
        until(lambda: not process.alive)
        assert process.exit_code == 0


@pytest.mark.parametrize(
    ("columns", "number", "row"),
    [("120", 3001, rb"87654  [red]<img src=x onerror=alert(1)>\x1b[31m"), ("60", 3002, rb"ORDER-003002  [red]<img")],
)
def test_top_shows_new_orders_in_a_terminal(
    flow: Settings, feeder: Feeder, columns: str, number: int, row: bytes
) -> None:
    child, terminal = pty.fork()
    if not child:
        os.environ.update(flow.environment(), TERM="xterm", COLUMNS=columns, LINES="40")
        os.execv(sys.executable, [sys.executable, "-m", "orderflow", "top"])
    shown = b""
    try:
        feeder.store(order(number, product_name=quoted(f"[red]{HOSTILE}")))
        deadline = time.monotonic() + 60
        while row not in shown:
            assert time.monotonic() < deadline, shown[-3000:]
            shown += os.read(terminal, 65536)
        assert b"MySQL answers at" in shown and "\u202e".encode() not in shown
        os.kill(child, signal.SIGINT)
        with suppress(OSError):  # reading fails when the process has closed the terminal
            while os.read(terminal, 65536):
                pass
        assert os.waitpid(child, 0)[1] == 0
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
