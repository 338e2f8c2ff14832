"""Server processes: their start, their end, their log and their signals."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orderflow.embedded import process
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import Process
from orderflow.errors import StartFailed
from orderflow.running_servers.process_identity import ProcessIdentity, is_running

Start = Callable[[str], Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a shell command as a Process, with its log in log/server.log."""
    started: list[Process] = []

    def start(command: str) -> Process:
        started.append(Process("Server", ["/bin/sh", "-c", command], log=tmp_path / "log/server.log", cwd=tmp_path))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.kill()


def ends(pid: int) -> bool:
    """Return whether the process ends within 5 s."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


def test_a_process_that_ends_at_once_is_reported_with_its_last_lines(start: Start, tmp_path: Path) -> None:
    server = start("echo no such datadir >&2; exit 3")
    with pytest.raises(StartFailed) as failed:
        server.wait_ready(lambda: False, timeout=5)
    assert "Server did not start: it ended with exit code 3" in failed.value.message
    assert "no such datadir" in failed.value.message
    assert str(tmp_path / "log/server.log") in failed.value.hint


def test_lines_of_an_earlier_start_are_not_repeated(start: Start) -> None:
    assert ends(start("echo earlier").identity[0])
    second = start("echo later")
    assert ends(second.identity[0])
    assert second.last_lines() == ["later"]


def test_another_server_that_answers_does_not_count(start: Start) -> None:
    server = start("exit 1")
    assert ends(server.identity[0])
    with pytest.raises(StartFailed):
        server.wait_ready(lambda: True, timeout=5)


def test_a_process_that_never_answers_is_ended(start: Start) -> None:
    server = start("sleep 100 & echo $! > child; wait")
    with pytest.raises(StartFailed, match=r"did not answer within 0\.2 s"):
        server.wait_ready(lambda: False, timeout=0.2)
    assert not server.alive


def test_stop_lets_the_process_finish(start: Start) -> None:
    server = start("trap 'echo finished; exit' TERM; echo ready; while :; do sleep 0.05; done")
    server.wait_ready(lambda: server.last_lines() == ["ready"], 5)
    server.stop(timeout=5)
    assert server.last_lines() == ["ready", "finished"]


def test_stop_kills_the_process_and_its_children_at_the_deadline(start: Start) -> None:
    server = start("trap '' TERM; sleep 100 & echo $!; wait")
    server.wait_ready(lambda: bool(server.last_lines()), 5)
    child = int(server.last_lines()[0])
    server.stop(timeout=0.2)
    assert not server.alive
    assert ends(child)


IN_A_TERMINAL = """
import os, signal, time
from pathlib import Path
from orderflow.embedded.process import Process
os.close(os.open(os.ttyname(0), os.O_RDWR))  # the session's terminal from now on
signal.signal(signal.SIGINT, signal.default_int_handler)
server = Process("Server", ["sleep", "100"], log=Path("log"))
server.start()
try:
    print("started", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    server.stop(5)
    print(server.exit_code)
"""


def test_ctrl_c_in_the_terminal_does_not_reach_the_process(tmp_path: Path) -> None:
    """It ends by the SIGTERM that is sent to it later. A signal of the terminal would have ended it first."""
    controller, terminal = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL],
            stdin=terminal,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            start_new_session=True,
        ) as parent:
            assert parent.stdout and parent.stdout.readline() == "started\n"
            os.write(controller, b"\x03")
            assert parent.stdout.read() == f"{-signal.SIGTERM}\n"
    finally:
        os.close(controller)
        os.close(terminal)


def test_a_leftover_of_an_earlier_process_is_stopped(tmp_path: Path) -> None:
    earlier = (
        "import sys; from pathlib import Path; from orderflow.embedded.process import Process\n"
        "server = Process('Server', ['sleep', '100'], log=Path(sys.argv[1])); server.start(); print(*server.identity)"
    )
    output = subprocess.check_output([sys.executable, "-c", earlier, tmp_path / "log"], text=True)
    pid, created = output.split()
    identity = ProcessIdentity(int(pid), float(created))
    assert is_running(identity)
    assert not process.stop_leftover(identity._replace(created=identity.created - 60), timeout=5), (
        "another process that got the same pid"
    )
    assert process.stop_leftover(identity, timeout=5)
    assert not is_running(identity)
    assert not process.stop_leftover(identity, timeout=5)


def test_a_port_in_use_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


CHILD = """
import signal, sys
print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, flush=True)
"""
PARENT = """
import signal, sys, time
from pathlib import Path
from orderflow.embedded.process import Process
child = Process("child", [sys.executable, "-c", sys.argv[1]], log=Path("log"))
child.start()
while child.alive:
    time.sleep(0.01)
assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
"""


def test_a_process_ignores_no_signal_that_its_parent_ignores(tmp_path: Path) -> None:
    nohup = ["/bin/sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh"]
    subprocess.run([*nohup, sys.executable, "-c", PARENT, CHILD], cwd=tmp_path, check=True, timeout=30)
    assert (tmp_path / "log").read_text() == "False False\n"


STOPPING = "trap 'echo > stopped; exit' TERM; sleep 0.5; echo > started; while :; do sleep 0.05; done"
INTERRUPTED = """
import os, sys
from pathlib import Path
from orderflow.embedded import signals
signals.interrupt_on_signals()
try:
    signals.run(["/bin/sh", "-c", sys.argv[1]], env=os.environ, cwd=Path("."))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_stops_its_servers_after_its_caller_ends(tmp_path: Path, number: int) -> None:
    caller = subprocess.Popen([sys.executable, "-c", INTERRUPTED, STOPPING], cwd=tmp_path)
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    caller.send_signal(number)
    assert caller.wait(30) == 130
    assert (tmp_path / "stopped").exists()


def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal; from orderflow.embedded import signals\n"
        "signals.interrupt_on_signals(); os.kill(os.getpid(), signal.SIGHUP)"
    )
    subprocess.run(["/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh", sys.executable, "-c", code], check=True)


def test_a_chosen_port_is_never_chosen_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_port()
    assert free_port(first) == first
    monkeypatch.setattr("orderflow.embedded.ports._PORTS", range(first, first + 2))
    monkeypatch.setattr("orderflow.embedded.ports.is_free", lambda port: True)
    assert free_port() == first + 1
    with pytest.raises(StartFailed, match=f"No port from {first} to {first + 1} is free"):
        free_port()


def test_a_pid_that_no_process_can_have_is_not_running() -> None:
    assert not is_running(ProcessIdentity(-5, 0.0))
