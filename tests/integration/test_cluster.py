"""A cluster of three brokers, a Spark master and two workers, each killed in turn. The audit must prove the result."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
import pytest
from confluent_kafka.admin import AdminClient

from orderflow import audit, topic
from orderflow.embedded.kafka import Kafka, cluster
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import LocalServer
from orderflow.embedded.spark_cluster import SparkMaster, SparkWorker
from orderflow.settings import Settings
from tests.support.processes import has_logged, run, running, sum_of_positions, until, until_it_stores
from tests.support.servers import scratch_folder
from tests.support.sql import select

_PARTITIONS = 6


@dataclass
class Cluster:
    brokers: list[Kafka]
    master: SparkMaster
    workers: list[SparkWorker]

    @property
    def servers(self) -> list[LocalServer]:
        return [*self.brokers, self.master, *self.workers]


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[Cluster]:
    with scratch_folder() as folder, ExitStack() as stack:
        master = SparkMaster(folder / "master", free_port())
        workers = [SparkWorker(folder / f"worker-{number}", number, master) for number in (1, 2)]
        created = Cluster(cluster(folder, [free_port() for _ in range(3)]), master, workers)
        for server in created.servers:
            stack.callback(server.kill)
            server.start()
        for server in created.servers:
            server.wait_ready()
        yield created


@pytest.fixture
def settings(running_cluster: Cluster, mysql_server: Settings) -> Settings:
    addresses = ",".join(broker.address for broker in running_cluster.brokers)
    return msgspec.structs.replace(
        mysql_server, mysql_database="cluster", kafka_bootstrap_servers=addresses, kafka_topic="orders"
    )


def _restart(server: LocalServer) -> None:
    server.start()
    server.wait_ready()


@pytest.fixture
def bare_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the executors a Python without packages, as on a machine where only Python is installed."""
    script = tmp_path / "bare-python"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S -s "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PYSPARK_PYTHON", str(script))


@pytest.mark.usefixtures("bare_python")
def test_every_record_is_stored_once_when_each_server_is_killed_in_turn(
    running_cluster: Cluster, settings: Settings, tmp_path: Path
) -> None:
    assert run(settings, "init", "--partitions", str(_PARTITIONS), cwd=tmp_path).returncode == 0
    admin = AdminClient(topic.client_config(settings))
    [leader, *_] = {
        part.leader for part in admin.list_topics(settings.kafka_topic).topics[settings.kafka_topic].partitions.values()
    }
    on_cluster = ("sink", "--json", "--master", running_cluster.master.url, "--ship")
    with running(settings, *on_cluster, folder=tmp_path, name="first") as first, ExitStack() as stack:
        until(has_logged(first, "2 executors with 4 task slots"), first)
        producer = stack.enter_context(running(settings, "produce", "--rate", "50", folder=tmp_path, name="producer"))
        until_it_stores(settings, first)
        _check_no_secret_shows(running_cluster, settings)

        running_cluster.workers[0].kill()  # with its executor
        until_it_stores(settings, first)
        _restart(running_cluster.workers[0])
        until_it_stores(settings, first)

        running_cluster.brokers[leader - 1].kill()
        until_it_stores(settings, first)
        _restart(running_cluster.brokers[leader - 1])
        until_it_stores(settings, first)

        running_cluster.master.kill()
        until_it_stores(settings, first)
        _restart(running_cluster.master)
        until_it_stores(settings, first)

        assert run(settings, "init", "--partitions", str(2 * _PARTITIONS), cwd=tmp_path).returncode == 0
        until(lambda: select(settings, "SELECT COUNT(*) FROM orders_ledger") == [(2 * _PARTITIONS,)], first)
        until_it_stores(settings, first)

        with running(settings, *on_cluster, folder=tmp_path, name="second") as second:
            until(has_logged(second, "Another sink is active"), second)
            first.kill()
            until_it_stores(settings, second)
            producer.terminate()
            until(lambda: not producer.alive)
            until(lambda: _lag(settings) == 0, second)
            second.terminate()
            until(lambda: not second.alive)
            assert second.exit_code == 0, second.last_lines()
    assert producer.exit_code == 0, producer.last_lines()
    report = audit.run(settings)
    assert report.is_proven and not report.not_yet_stored, report.sentence()


def _lag(settings: Settings) -> int:
    info = topic.describe(settings)
    ends = sum(bounds.end for bounds in topic.bounds(settings, info.partitions).values())
    return ends - sum_of_positions(settings)


def _check_no_secret_shows(running_cluster: Cluster, settings: Settings) -> None:
    """Check the command lines and the logs of Spark's daemons and executors."""
    for process in psutil.process_iter(["cmdline"]):
        assert settings.mysql_password not in " ".join(process.info["cmdline"] or [])
    for server in (running_cluster.master, *running_cluster.workers):
        for path in server.folder.rglob("*"):
            if path.is_file() and path.suffix in ("", ".log"):
                assert settings.mysql_password.encode() not in path.read_bytes(), path
