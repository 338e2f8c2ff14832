"""A test run that a signal ends leaves nothing running, and works if SIGINT is ignored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support import lifeline
from tests.support.processes import until

# Starts a server in its own session, and a child of the server in another one. Both outlive their parent.
LEAVING = """
import subprocess, sys, time
from pathlib import Path
from orderflow.embedded.process import Process
from tests.support import servers

def test_it(tmp_path):
    with servers.scratch_folder() as folder:
        (folder / "file").touch()
        argv = ["/bin/sh", "-c", "setsid sleep 300 & echo $! > pid; exec sleep 300"]
        server = Process("server", argv, log=folder / "log", cwd=folder)
        server.start()
        while not (folder / "pid").exists() or not (folder / "pid").read_text():
            time.sleep(0.01)
        Path("started").write_text(f"{folder} {server.identity[0]} {(folder / 'pid').read_text()}")
        try:
            time.sleep(300)
        finally:
            Path("finished").touch()
"""
# A child that waits for an interrupt receives it.
INTERRUPTING = """
import os, signal, subprocess, sys
from orderflow.embedded.process import Process

WAIT = '''
import time
try:
    print("ready", flush=True)
    time.sleep(300)
except KeyboardInterrupt:
    print("interrupted", flush=True)
'''

def test_it(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", WAIT], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=10)[0] == "interrupted\\n"
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a test run of one test file."""

    def start(test: str, *prefix: str) -> subprocess.Popen[bytes]:
        (tmp_path / "test_it.py").write_text(test)
        own = {name: value for name, value in os.environ.items() if name != lifeline.MARK}
        root = Path(lifeline.__file__).parents[2]
        own["PYTHONPATH"] = f"{root}{os.pathsep}{root / 'src'}"
        options = ("-p", "tests.conftest", "-p", "no:cacheprovider", "-q", "test_it.py")
        return subprocess.Popen([*prefix, sys.executable, "-m", "pytest", *options], cwd=tmp_path, env=own)

    return start


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_run_that_a_signal_ends_leaves_nothing(start: Start, tmp_path: Path, number: int) -> None:
    run = start(LEAVING)
    try:
        until((tmp_path / "started").exists)
        folder, *pids = (tmp_path / "started").read_text().split()
        assert not any(is_gone(int(pid)) for pid in pids)
        run.send_signal(number)
        run.wait(30)
        until(lambda: all(is_gone(int(pid)) for pid in pids) and not Path(folder).exists(), timeout=20)
        assert (tmp_path / "finished").exists() == (number != signal.SIGKILL)
    finally:
        run.kill()


def test_commands_can_be_interrupted_if_the_run_ignores_interrupts(start: Start) -> None:
    assert start(INTERRUPTING, "/bin/sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh").wait(60) == 0
