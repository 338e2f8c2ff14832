"""`orderflow up` as a user runs it, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from orderflow.embedded.process import Process
from tests.support.processes import TIMEOUT, has_logged, until
from tests.support.prometheus import get


def _environment(folder: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "MYSQL_"))}
    return own | {"ORDERFLOW_HOME": str(folder / "home")}


def _orderflow(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orderflow", *arguments],
        env=_environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@contextmanager
def _up(folder: Path, *arguments: str) -> Iterator[Process]:
    """Run `orderflow up` while the block lasts. Then none of its processes runs, even after a failure."""
    up = Process(
        "up",
        [sys.executable, "-m", "orderflow", "up", *arguments],
        log=folder / "up.log",
        env=_environment(folder),
        cwd=folder,
    )
    up.start()
    try:
        yield up
    finally:
        _orderflow(folder, "down")
        up.kill()


def _status(folder: Path) -> dict[str, int]:
    result = _orderflow(folder, "status", "--json")
    status: dict[str, int] = json.loads(result.stdout) if result.returncode == 0 else {"stored": -1}
    return status


def test_up_sends_stores_and_proves_orders_and_continues_later(tmp_path: Path) -> None:
    limited_run = _orderflow(tmp_path, "up", "--orders", "2000", "--json")
    assert limited_run.returncode == 0, limited_run.stderr
    first_report = json.loads(limited_run.stdout)
    assert (first_report["proven"], first_report["sent"], first_report["stored"], first_report["missing"]) == (
        True,
        2000,
        2000,
        [],
    )

    with _up(tmp_path, "--engine", "direct", "--rate", "20") as up:
        until(lambda: _status(tmp_path)["stored"] > 2000, up)

        sink, _ = json.loads((tmp_path / "home" / "state.json").read_text())["parts"]["sink"]
        assert not psutil.Process(sink).children()  # no JVM

        [page] = re.findall(r"Dashboard: (http://\S+)", "\n".join(up.last_lines(100)))
        assert "OrderFlow" in get(page)[1]

        second = _orderflow(tmp_path, "up")
        assert second.returncode == 2
        assert "is already running" in second.stderr
        assert _orderflow(tmp_path, "down").returncode == 0
        until(lambda: not up.alive)
        assert up.exit_code == 0

    later_run = _orderflow(tmp_path, "up", "--orders", "10", "--json")
    assert later_run.returncode == 0, later_run.stderr
    report = json.loads(later_run.stdout)
    # No number was used twice, and none was skipped.
    assert report["proven"] and report["duplicates"] == report["quarantined"] == 0
    assert report["newest"] == f"ORDER-{report['stored']:06d}"


def test_a_process_that_a_signal_stops_is_restarted(tmp_path: Path) -> None:
    def pids() -> dict[str, int]:
        parts: dict[str, list[int]] = json.loads((tmp_path / "home" / "state.json").read_text())["parts"]
        return {name: parts[name][0] for name in ("sink", "produce", "dashboard")}

    with _up(tmp_path, "--engine", "direct", "--rate", "20") as up:
        until(lambda: _status(tmp_path)["stored"] > 0, up)
        until(has_logged(up, "Dashboard:"), up)
        before = pids()
        for pid in before.values():
            os.kill(pid, signal.SIGTERM)
        for name in before:
            until(has_logged(up, f"orderflow {name} was stopped by a signal; restarting it."), up)
        until(lambda: not set(before.values()) & set(pids().values()), up)
        stored = _status(tmp_path)["stored"]
        until(lambda: _status(tmp_path)["stored"] > stored + 20, up)


def test_without_its_producer_only_other_producers_orders_are_stored(tmp_path: Path) -> None:
    with _up(tmp_path, "--engine", "direct", "--no-producer") as up:
        until(has_logged(up, "Dashboard:"), up)
        sent = _orderflow(tmp_path, "produce", "--count", "20")
        assert sent.returncode == 0, sent.stderr
        until(lambda: _status(tmp_path)["stored"] > 0, up)
        until(lambda: _status(tmp_path)["lag"] == 0, up)
        assert _status(tmp_path)["stored"] == 20
        assert not (tmp_path / "home" / "logs" / "produce.log").exists()


def test_a_producer_that_stops_before_its_last_order_is_a_failure(tmp_path: Path) -> None:
    with _up(tmp_path, "--engine", "direct", "--orders", "5000000") as up:
        until(lambda: _status(tmp_path)["stored"] > 0, up)
        pid, _ = json.loads((tmp_path / "home" / "state.json").read_text())["parts"]["produce"]
        os.kill(pid, signal.SIGTERM)
        until(lambda: not up.alive)
        assert up.exit_code == 2
        assert has_logged(up, "of 5,000,000 orders. Its last lines:")()


def test_down_cleans_up_after_a_killed_up(tmp_path: Path) -> None:
    with _up(tmp_path) as up:
        until(has_logged(up, "Database:"), up)
        os.kill(up.identity[0], signal.SIGKILL)
        until(lambda: not up.alive)
        down = _orderflow(tmp_path, "down")
        assert down.returncode == 0 and "Stopped" in down.stdout, down.stderr
        assert "Nothing is running" in _orderflow(tmp_path, "down").stdout


def test_a_failed_start_names_the_part_and_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "home" / "kafka").mkdir(parents=True)
    (tmp_path / "home" / "kafka" / "data").write_text("not a folder")
    failed = _orderflow(tmp_path, "up")
    assert failed.returncode == 2
    assert "Kafka did not start" in failed.stderr and "Traceback" not in failed.stderr
    assert "Nothing is running" in _orderflow(tmp_path, "down").stdout


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the processes of this system")
def test_no_command_line_contains_a_password(tmp_path: Path) -> None:
    with _up(tmp_path) as up:
        until((tmp_path / "home" / "logs" / "produce.log").exists, up)
        password = (tmp_path / "home" / "database" / "password").read_text()

        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = entry.read_bytes()
            except OSError:
                continue  # the process has ended
            assert password.encode() not in line
