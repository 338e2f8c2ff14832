"""What other processes read from the folder of `up`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orderflow.embedded import stack
from orderflow.embedded.home_lock import stop_up
from orderflow.embedded.process import LocalServer, Process
from orderflow.errors import AlreadyRunning, StartFailed
from orderflow.running_servers import state_file
from orderflow.running_servers.process_identity import identity_of
from orderflow.running_servers.state_file import RunningServers
from orderflow.settings import Settings
from tests.support.processes import until

WAITS = "MySQL at db:3306 does not answer. Retrying."


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"2025-01-15T14:30:45Z WARNING {WAITS}", WAITS),
        (f"2025-01-15T14:30:45Z INFO    {WAITS}", WAITS),
        (json.dumps({"time": "2025-01-15T14:30:45.120+00:00", "level": "warning", "message": WAITS}), WAITS),
        (
            "25/01/15 14:30:45 WARN NativeCodeLoader: Unable to load",
            "25/01/15 14:30:45 WARN NativeCodeLoader: Unable to load",
        ),
        ('{"no": "log line"}', '{"no": "log line"}'),
    ],
)
def test_the_last_log_line_is_returned_without_time_and_level(tmp_path: Path, line: str, expected: str) -> None:
    settings = Settings(orderflow_home=str(tmp_path))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/sink.log").write_text(f"before\n{line}\n")
    assert state_file.last_log_line(settings, "sink") is None  # `up` does not run
    state_file.write(tmp_path, RunningServers(up=identity_of(os.getpid())))
    assert state_file.last_log_line(settings, "sink") == expected


def test_a_second_up_chooses_other_ports_than_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(LocalServer, "wait_ready", lambda server: None)
    first = stack.Stack(Settings(orderflow_home=str(tmp_path / "first")))
    with ThreadPoolExecutor() as threads:
        second = threads.submit(stack.Stack, Settings(orderflow_home=str(tmp_path / "second")))
        with pytest.raises(TimeoutError):
            second.result(timeout=0.3)
        assert [server.name for server in first.wait_ready()] == ["Kafka", "Database"]
        assert second.result(timeout=10).servers


def test_a_process_that_stops_again_and_again_is_not_restarted_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("MYSQL_HOST", "127.0.0.1")
    monkeypatch.setattr(stack, "_RESTART_WAIT", 0)
    restarting = stack.Stack(Settings(orderflow_home=str(tmp_path)))
    dying = Process("dying", ["sh", "-c", "echo no memory; kill -9 $$"], log=tmp_path / "dying.log")
    restarting.commands["dying"] = dying
    dying.start()
    starts = 0
    with pytest.raises(StartFailed, match=r"orderflow dying stopped 6 times within \d+ s\. .*\n  no memory"):
        while starts < 50:
            until(lambda: not dying.alive)
            starts += 1
            restarting.restart_stopped()
    assert starts == 6


def test_down_reports_an_up_that_does_not_stop(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as up:
        assert up.stdout and up.stdout.readline()
        state_file.write(tmp_path, RunningServers(up=identity_of(up.pid)))
        settings = Settings(orderflow_home=str(tmp_path))
        with pytest.raises(AlreadyRunning, match=rf"\(process {up.pid}\) still runs 1 s after") as running:
            stop_up(settings, timeout=1)
        assert f"kill -9 {up.pid}" in running.value.hint
        up.kill()
