"""The sink with little disk space or few file descriptors. A mount namespace limits the disk space."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from orderflow import topic as topics
from orderflow.embedded.process import Process
from orderflow.settings import Settings
from tests.support.processes import has_logged, run, running, until
from tests.support.sql import execute, select

NAMESPACE = ["unshare", "--mount", "--map-root-user"]
SMALL = "mount -t tmpfs -o size=1m tmpfs"
ORDERS = 60_000

pytestmark = pytest.mark.skipif(
    subprocess.run([*NAMESPACE, "sh", "-c", f"{SMALL} /dev/shm"], capture_output=True, check=False).returncode != 0,
    reason="this user may not mount a file system in a namespace",
)


@pytest.fixture
def flow(mysql_server: Settings, kafka: str, topic: str, tmp_path: Path) -> Settings:
    """Return settings of a topic with 60,000 orders."""
    flow = msgspec.structs.replace(
        mysql_server,
        kafka_bootstrap_servers=kafka,
        kafka_topic=topic,
        mysql_database=topic.replace("-", "_"),
    )
    topics.create(flow, 1)
    assert run(flow, "produce", "--count", str(ORDERS), cwd=tmp_path).returncode == 0
    return flow


def sink(flow: Settings, folder: Path, *limited: Path) -> Process:
    """Start `orderflow sink --once` with 1 MB in each of these folders."""
    mounts = " && ".join(f"{SMALL} {shlex.quote(str(path))}" for path in limited)
    script = f"{mounts} && exec '{sys.executable}' -m orderflow sink --once --engine direct"
    process = Process(
        "sink",
        [*NAMESPACE, "sh", "-c", script],
        log=folder / "sink.log",
        env=os.environ | flow.environment() | {"TMPDIR": str(folder)},
        cwd=folder.parent,
    )
    process.start()
    return process


def test_another_folder_is_used_if_memory_has_no_room(flow: Settings, tmp_path: Path) -> None:
    process = sink(flow, tmp_path, Path("/dev/shm"))
    try:
        until(lambda: not process.alive)
        assert process.exit_code == 0, process.last_lines(30)
        assert select(flow, "SELECT COUNT(*) FROM orders") == [(ORDERS,)]
    finally:
        process.kill()
        execute(flow, f"DROP DATABASE {flow.mysql_database}")


def test_the_sink_waits_for_room_if_no_folder_has_any(flow: Settings, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    process = sink(flow, full, Path("/dev/shm"), full)
    try:
        until(has_logged(process, "cannot be written: No space left on device. Retrying."), process)
        inside = ["nsenter", "--user", "--preserve-credentials", "--mount", "-t", str(process.identity[0])]
        for mount in (Path("/dev/shm"), full):
            subprocess.run([*inside, "mount", "-o", "remount,size=200m", mount], check=True)
        until(lambda: not process.alive)
        assert process.exit_code == 0, process.last_lines(30)
        assert select(flow, "SELECT COUNT(*) FROM orders") == [(ORDERS,)]
        assert not has_logged(process, "Traceback")()
    finally:
        process.kill()
        execute(flow, f"DROP DATABASE {flow.mysql_database}")


def test_the_sink_waits_for_file_descriptors(flow: Settings, tmp_path: Path) -> None:
    with running(flow, "sink", "--engine", "direct", folder=tmp_path) as process:
        until(has_logged(process, f" {ORDERS:,} stored"), process)
        limits = psutil.Process(process.identity[0])
        before = limits.rlimit(psutil.RLIMIT_NOFILE)
        limits.rlimit(psutil.RLIMIT_NOFILE, (4, before[1]))  # open descriptors stay open
        assert run(flow, "produce", "--count", str(ORDERS), cwd=tmp_path).returncode == 0
        until(has_logged(process, "Retrying."), process)
        limits.rlimit(psutil.RLIMIT_NOFILE, before)
        until(lambda: select(flow, "SELECT COUNT(*) FROM orders") == [(2 * ORDERS,)], process)
        assert not has_logged(process, "Traceback")()
    execute(flow, f"DROP DATABASE {flow.mysql_database}")
