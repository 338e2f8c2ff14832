"""Runs OrderFlow's commands as processes, and waits for conditions."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orderflow.embedded.process import Process
from orderflow.settings import Settings
from tests.support.sql import select

ROOT = Path(__file__).parents[2]
TIMEOUT = 300.0  # seconds; a slow machine must not fail a test, but an endless wait must
# For JVMs that OrderFlow does not start: in a minute of life, most of their time is the second compiler's.
QUICK_JAVA = {"JAVA_TOOL_OPTIONS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"}


def run(
    settings: Settings, *arguments: str, cwd: Path, timeout: float = TIMEOUT, module: str = "orderflow"
) -> subprocess.CompletedProcess[str]:
    """Run `orderflow ARGUMENTS`, or another module's command, until it ends, for at most `timeout` seconds."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | settings.environment() | ({} if module == "orderflow" else {"PYTHONPATH": path}),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_orderflow(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `orderflow ARGUMENTS` without a server, with these environment variables instead of settings."""
    program = "import sys; from orderflow.cli import main; sys.argv[0] = 'orderflow'; main()"
    return run_python("-c", program, *arguments, cwd=cwd, **environ)


def run_python(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` with OrderFlow on the path."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(settings: Settings, *arguments: str, folder: Path, name: str = "command") -> Iterator[Process]:
    """Run `orderflow ARGUMENTS` while the block lasts, then kill it."""
    process = Process(
        name,
        [sys.executable, "-m", "orderflow", *arguments],
        log=folder / f"{name}.log",
        env=os.environ | settings.environment(),
        cwd=folder,
    )
    process.start()
    try:
        yield process
    finally:
        process.kill()


def until(condition: Callable[[], object], process: Process | None = None, timeout: float = TIMEOUT) -> None:
    """Wait for the condition. Fail after `timeout` seconds, or if the process ends first."""
    deadline = time.monotonic() + timeout
    while not condition():
        log = "\n".join(process.last_lines(30)) if process else ""
        assert process is None or process.alive, f"it ended with exit code {process.exit_code}:\n{log}"
        assert time.monotonic() < deadline, f"the condition did not become true:\n{log}"
        time.sleep(0.15)  # InnoDB refreshes its list of transactions only 0.1 s after the last read


def until_it_stores(settings: Settings, sink: Process) -> None:
    """Wait until the ledger's positions change."""
    before = sum_of_positions(settings)
    until(lambda: sum_of_positions(settings) > before, sink)


def sum_of_positions(settings: Settings) -> int:
    """Return the sum of the ledger's positions."""
    return int(select(settings, "SELECT SUM(next_offset) FROM orders_ledger")[0][0] or 0)


def has_logged(process: Process, words: str) -> Callable[[], bool]:
    """Return a condition for `until`: the process has logged these words."""
    return lambda: any(words in line for line in process.last_lines(10_000))
