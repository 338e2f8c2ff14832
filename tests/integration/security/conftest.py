"""The authorities, and the servers that require TLS, authentication and granted rights.

Each file starts its own servers. The second start takes 8 s, and two processes may run the files at the same time.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orderflow import topic
from orderflow.embedded import debian
from orderflow.settings import Settings
from tests.support.certificates import Authority, Certificate
from tests.support.secured import KEY_PASSWORD, PASSWORDS, Authorities, SecuredDatabase, SecuredKafka, parse_acls
from tests.support.servers import running as serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("security")


@pytest.fixture(scope="module")
def authorities(folder: Path) -> Authorities:
    return Authorities(Authority(folder / "ca", "trusted"), Authority(folder / "ca", "stranger"))


@pytest.fixture(scope="module")
def client(authorities: Authorities) -> Certificate:
    return authorities.trusted.issue("client", passphrase=KEY_PASSWORD)


@pytest.fixture(scope="module")
def broker(folder: Path, server_folder: Path, authorities: Authorities) -> Iterator[SecuredKafka]:
    broker = SecuredKafka(server_folder / f"{folder.name}-kafka", authorities.trusted, PASSWORDS)
    with serving(broker):
        admin = Settings(kafka_bootstrap_servers=broker.address)
        topic.create(admin)
        for principal in ("User:orderflow_sink", "User:CN=client"):
            allow = f"kafka-acls.sh --add --allow-principal {principal} --operation Read --topic orders"
            broker.create_acls(parse_acls(allow))
        yield broker


@pytest.fixture(scope="module")
def mysql_tls(folder: Path, server_folder: Path, authorities: Authorities) -> Iterator[SecuredDatabase]:
    if not shutil.which("mysqld") and not debian.available():
        pytest.skip("no genuine MySQL: neither mysqld on PATH, nor apt-get to download it")
    database = SecuredDatabase(server_folder / f"{folder.name}-mysql", "mysql", authorities.trusted)
    with serving(database):
        yield database


@pytest.fixture(scope="module")
def mariadb_tls(folder: Path, server_folder: Path, authorities: Authorities) -> Iterator[SecuredDatabase]:
    database = SecuredDatabase(server_folder / f"{folder.name}-mariadb", "mariadb", authorities.trusted)
    with serving(database):
        yield database
