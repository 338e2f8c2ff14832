"""Failures under load. Afterwards the audit and an independent count must account for every record."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orderflow import audit, topic
from orderflow.embedded.database import Database
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import Process
from orderflow.settings import Settings
from tests.support.processes import has_logged, run, running, sum_of_positions, until, until_it_stores
from tests.support.servers import scratch_folder
from tests.support.sql import select

_PRODUCE = ("produce", "--rate", "200", "--bad", "0.01", "--repeat", "0.01")


@pytest.fixture
def own_database() -> Iterator[Database]:
    """Yield a server that the test may kill."""
    with scratch_folder() as folder:
        server = Database(folder / "mysql", free_port(), "mysql")
        server.start()
        try:
            server.wait_ready()
            yield server
        finally:
            server.kill()


@pytest.fixture
def own_settings(own_database: Database, kafka: str, topic: str) -> Settings:
    server = own_database
    return Settings(
        kafka_bootstrap_servers=kafka,
        kafka_topic=topic,
        mysql_host="127.0.0.1",
        mysql_port=server.port,
        mysql_user=server.user,
        mysql_password=server.password,
    )


def _prove(settings: Settings, sent: int) -> None:
    report = audit.run(settings)
    assert report.is_proven, report.sentence()
    assert report.records == sent
    assert select(settings, "SELECT COUNT(*), COUNT(DISTINCT order_id) FROM orders") == [(report.stored,) * 2]


def _lag(settings: Settings) -> int:
    info = topic.describe(settings)
    ends = sum(bounds.end for bounds in topic.bounds(settings, info.partitions).values())
    return ends - sum_of_positions(settings)


def _descendants(process: Process, name: str) -> list[psutil.Process]:
    """Return the descendants of the process whose command line contains `name`."""
    processes = []
    for child in psutil.Process(process.identity[0]).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in child.cmdline():
                processes.append(child)
    return processes


def test_every_record_is_stored_once_when_each_process_is_killed_in_turn(
    own_settings: Settings, own_database: Database, tmp_path: Path
) -> None:
    assert run(own_settings, "init", cwd=tmp_path).returncode == 0
    rng = random.Random(7)
    with (
        running(own_settings, *_PRODUCE, folder=tmp_path, name="producer") as producer,
        running(own_settings, "sink", folder=tmp_path, name="sink") as sink,
    ):
        until_it_stores(own_settings, sink)
        has_restarted = has_logged(sink, "Restarting at the ledger's position")
        while not has_restarted():  # Spark replaces a worker killed between two tasks without an error
            for worker in _descendants(sink, "orderflow.spark.daemon"):
                worker.kill()
            until_it_stores(own_settings, sink)
        until_it_stores(own_settings, sink)
        time.sleep(rng.uniform(0, 1))  # at any instruction

        own_database.kill()
        until(has_logged(sink, " Retrying."), sink)
        own_database.start()
        own_database.wait_ready()
        until_it_stores(own_settings, sink)
        time.sleep(rng.uniform(0, 1))

        for jvm in _descendants(sink, "org.apache.spark.deploy.SparkSubmit"):
            jvm.kill()
        until(has_logged(sink, "JVM has exited"), sink)
        until_it_stores(own_settings, sink)
        time.sleep(rng.uniform(0, 1))

        sink.kill()  # the driver itself
        producer.terminate()
        until(lambda: not producer.alive)
        assert producer.exit_code == 0

    for scratch in Path("/dev/shm").glob("orderflow-scratch-*"):
        if not psutil.pid_exists(int(scratch.name.split("-")[2])):
            # Spark's checkpoint: OrderFlow does not need it. A JVM without its sink may be removing its folder too.
            shutil.rmtree(scratch, ignore_errors=True)
    finished = run(own_settings, "sink", "--once", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert _lag(own_settings) == 0
    _prove(own_settings, sum_of_positions(own_settings))


def test_a_standby_sink_takes_over(own_settings: Settings, tmp_path: Path) -> None:
    with (
        running(own_settings, "produce", "--rate", "50", folder=tmp_path, name="producer") as producer,
        running(own_settings, "sink", folder=tmp_path, name="first") as first,
    ):
        until(has_logged(first, "stored, 0 duplicates"), first)
        with running(own_settings, "sink", "--json", folder=tmp_path, name="second") as second:
            until(has_logged(second, "Another sink is active"), second)
            first.kill()
            until(has_logged(second, '"running"'), second)
            producer.terminate()
            until(lambda: not producer.alive)
            until(lambda: _lag(own_settings) == 0, second)
    _prove(own_settings, sum_of_positions(own_settings))


def test_the_sink_waits_for_an_unavailable_database_and_catches_up(
    own_settings: Settings, own_database: Database, tmp_path: Path
) -> None:
    with (
        running(own_settings, "produce", "--rate", "100", folder=tmp_path, name="producer") as producer,
        running(own_settings, "sink", "--json", folder=tmp_path, name="sink") as sink,
    ):
        until(has_logged(sink, "stored, 0 duplicates"), sink)
        own_database.stop()
        until(has_logged(sink, "The lag is "), sink)
        waiting = [json.loads(line) for line in sink.last_lines(1000) if line.startswith('{"state":"waiting"')]
        assert "does not answer" in waiting[-1]["message"] or "cannot take writes" in waiting[-1]["message"]
        own_database.start()
        own_database.wait_ready()
        producer.terminate()
        until(lambda: not producer.alive)
        until(lambda: _lag(own_settings) == 0, sink)
    _prove(own_settings, sum_of_positions(own_settings))
