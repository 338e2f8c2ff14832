"""Fixtures: one server of each kind per session, started when the first test needs it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import mysql.connector
import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from orderflow.settings import Settings
from tests.support import lifeline, servers

lifeline.end_processes_with_this_run()

# A failed comparison shows its values, as in a test file.
pytest.register_assert_rewrite("tests.support.audited", "tests.support.dashboards", "tests.support.tables")

# Benchmarks measure time. A slow machine must not fail a test.
hypothesis_settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that all processes of pytest-xdist end at about the same time."""
    items.sort(key=lambda item: [folder not in item.path.parts for folder in ("faults", "integration")])


@pytest.fixture(autouse=True)
def no_system_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let OpenSSL find no certificates of the system: at each TLS connection, the MySQL client reads all in 40 ms.

    A file whose tests download something replaces this fixture.
    """
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setenv("SSL_CERT_DIR", os.devnull)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    with servers.scratch_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def kafka(server_folder: Path) -> Iterator[str]:
    """Yield the bootstrap servers of the session's broker."""
    with servers.kafka(server_folder) as address:
        yield address


@pytest.fixture(scope="session")
def mysql_server(server_folder: Path) -> Iterator[Settings]:
    with servers.database("mysql", server_folder) as settings:
        yield settings


@pytest.fixture(scope="session")
def mariadb_server(server_folder: Path) -> Iterator[Settings]:
    with servers.database("mariadb", server_folder) as settings:
        yield settings


@pytest.fixture(params=["mysql", "mariadb"])
def database(request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Yield settings with a database that does not exist yet: once for MySQL and once for MariaDB."""
    server: Settings = request.getfixturevalue(f"{request.param}_server")
    settings = msgspec.structs.replace(server, mysql_database=_unique_name("test_"))
    yield settings
    with mysql.connector.connect(
        host=settings.mysql_host,
        port=settings.mysql_port,
        user=settings.mysql_user,
        password=settings.mysql_password,
    ) as connection:
        connection.cursor().execute(f"DROP DATABASE IF EXISTS {settings.mysql_database}")


@pytest.fixture
def topic(kafka: str) -> Iterator[str]:
    """Yield the name of a topic that does not exist yet."""
    name = _unique_name("orders-")
    yield name
    admin = AdminClient({"bootstrap.servers": kafka})
    if name in admin.list_topics(timeout=10).topics:
        admin.delete_topics([name])[name].result()


@pytest.fixture
def settings(database: Settings, kafka: str, topic: str) -> Settings:
    """Return settings for both servers, with a database and a topic that do not exist yet."""
    return msgspec.structs.replace(database, kafka_bootstrap_servers=kafka, kafka_topic=topic)


def _unique_name(prefix: str) -> str:
    return prefix + uuid.uuid4().hex[:12]
