"""The servers that the tests use: started here, or external ones named by environment variables.

TEST_KAFKA_BOOTSTRAP_SERVERS names an external broker. TEST_MYSQL_HOST names an external MySQL, with
TEST_MYSQL_PORT (3306), TEST_MYSQL_USER (root) and TEST_MYSQL_PASSWORD (empty). TEST_MARIADB_… work the same way.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orderflow.embedded import debian
from orderflow.embedded.database import Database, DatabaseKind
from orderflow.embedded.kafka import Kafka
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import LocalServer
from orderflow.settings import Settings
from tests.support import lifeline


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder: in memory if 2 GB are free in it, because the servers sync at every commit."""
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > 2 * 1024**3
    with tempfile.TemporaryDirectory(prefix="orderflow-test-", dir=memory if has_room else None) as folder:
        lifeline.remove_at_end(Path(folder))
        yield Path(folder)


@contextmanager
def running(server: LocalServer) -> Iterator[None]:
    try:
        server.start()
        server.wait_ready()
        yield
    finally:
        server.kill()  # its data is discarded, so it need not shut down cleanly


@contextmanager
def kafka(folder: Path) -> Iterator[str]:
    """Yield the bootstrap servers of a broker."""
    if external := os.environ.get("TEST_KAFKA_BOOTSTRAP_SERVERS"):
        yield external
        return
    server = Kafka(folder / "kafka", free_port())
    with running(server):
        yield server.address


@contextmanager
def database(kind: DatabaseKind, folder: Path) -> Iterator[Settings]:
    """Yield settings that reach a database server of this kind."""
    prefix = f"TEST_{kind.upper()}_"
    if host := os.environ.get(f"{prefix}HOST"):
        yield Settings(
            mysql_host=host,
            mysql_port=int(os.environ.get(f"{prefix}PORT", "3306")),
            mysql_user=os.environ.get(f"{prefix}USER", "root"),
            mysql_password=os.environ.get(f"{prefix}PASSWORD", ""),
        )
        return
    if kind == "mysql" and not shutil.which("mysqld") and not debian.available() and not os.environ.get("CI"):
        pytest.skip("no genuine MySQL here: neither mysqld on PATH, nor apt-get to download it, nor TEST_MYSQL_HOST")
    server = Database(folder / kind, free_port(), kind)
    with running(server):
        yield Settings(
            mysql_host="127.0.0.1", mysql_port=server.port, mysql_user=server.user, mysql_password=server.password
        )
