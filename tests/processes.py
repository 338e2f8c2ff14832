"""OrderFlow's commands as processes, and conditions to wait for."""

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

PATIENCE = 180.0  # seconds; a slow machine is no failure, an endless wait is


def run(settings: Settings, *arguments: str, cwd: Path, patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """`orderflow ARGUMENTS` to its end, for so many seconds at most."""
    return subprocess.run(
        [sys.executable, "-m", "orderflow", *arguments],
        env=os.environ | settings.environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )


@contextmanager
def running(settings: Settings, *arguments: str, folder: Path, name: str = "command") -> Iterator[Process]:
    """`orderflow ARGUMENTS` while the block lasts; killed at its end."""
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


def until(condition: Callable[[], object], process: Process | None = None, patience: float = PATIENCE) -> None:
    """Wait for the condition; fail if it does not come, or the process ends before."""
    deadline = time.monotonic() + patience
    while not condition():
        told = "\n".join(process.last_lines(30)) if process else ""
        assert process is None or process.alive, f"it ended with exit code {process.exit_code}:\n{told}"
        assert time.monotonic() < deadline, f"it did not come:\n{told}"
        time.sleep(0.1)


def says(process: Process, words: str) -> Callable[[], bool]:
    """Whether the process has said these words."""
    return lambda: any(words in line for line in process.last_lines(10_000))
