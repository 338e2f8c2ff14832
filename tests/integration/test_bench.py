"""Each part of the benchmark at a tiny size. The tests check that figures exist and agree, not their values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import AdminClient
from rich.progress import Progress

from benchmarks import backlog, limit
from orderflow.settings import Settings
from tests.support import processes, sql
from tests.support.processes import until


@pytest.fixture
def servers(mysql_server: Settings, kafka: str) -> Settings:
    return msgspec.structs.replace(mysql_server, kafka_bootstrap_servers=kafka)


def _bench(settings: Settings, folder: Path, *arguments: str) -> Any:
    process = processes.run(settings, *arguments, "--json", cwd=folder, module="benchmarks")
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout)
    assert result["machine"]["database"]
    return result


def _leftovers(settings: Settings) -> list[str]:
    server = msgspec.structs.replace(settings, mysql_database="mysql")
    databases = [name for (name,) in sql.select(server, "SHOW DATABASES") if name.startswith("orderflow_bench_")]
    topics = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers}).list_topics(timeout=10).topics
    return databases + [name for name in topics if name.startswith("orderflow-bench-")]


def test_limit_runs_on_its_own_servers(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "MYSQL_"))}
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "limit", "--rows=1000", "--rounds=1", "--chart=limit.svg"],
        env=env | {"PYTHONPATH": str(processes.ROOT), "NO_COLOR": "1", "COLUMNS": "200"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=processes.TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("│ exact") == 6 and "Database" in result.stdout
    assert "6 connections" in (tmp_path / "limit.svg").read_text()
    assert not list((tmp_path / ".orderflow").iterdir())


def test_the_direct_sink_is_measured_with_its_steps(servers: Settings, tmp_path: Path) -> None:
    result = _bench(servers, tmp_path, "sink", "--engine=direct", "--rows=30000", "--rounds=1", "--connections=2")
    assert result["share_of_limit"] == round(result["steady"] / result["limit"], 3) > 0
    assert [run["exact"] for run in result["runs"]] == [True, True]
    assert {"decode and check", "render", "MySQL: the rows", "wait for records"} < result["steps"].keys()
    assert not _leftovers(servers)


def test_steps_within_spark_are_measured(servers: Settings, tmp_path: Path) -> None:
    result = _bench(servers, tmp_path, "sink", "--rows=60000", "--rounds=1", "--connections=1")
    assert {"decode and check", "MySQL: the rows", "receive from Spark"} < result["steps"].keys()
    [run] = [run for run in result["runs"] if run["contestant"] == "Spark micro-batches"]
    assert {"sink", "sink: JVM", "sink: workers"} <= run["memory"].keys()


def test_latency_is_measured(servers: Settings, tmp_path: Path) -> None:
    result = _bench(servers, tmp_path, "latency", "--engine=direct", "--rate=50", "--rate=200", "--seconds=2")
    slow, fast = result["rates"]
    assert (slow["orders"], fast["orders"]) == (100, 100)  # all slow orders, every fourth fast one
    for rate in (slow, fast):
        assert 0 < rate["p50"] <= rate["p95"] <= rate["p99"] <= rate["max"]
        assert rate["resolution"] > 0
    assert result["table"] == "exact" and not _leftovers(servers)


def test_producers_are_measured(servers: Settings, tmp_path: Path) -> None:
    result = _bench(servers, tmp_path, "producer", "--rows=2000", "--rounds=1")
    assert {"orderflow, gzip", "orderflow, lz4", "kafka-python, gzip"} < result["orders_per_second"].keys()
    assert all(rate > 0 for rate in result["orders_per_second"].values())


def test_growth_and_soak_are_measured(servers: Settings, tmp_path: Path) -> None:
    result = _bench(servers, tmp_path, "growth", "--engine=direct", "--size=2000", "--size=500", "--rows=700")
    assert [run["contestant"].split(", at ")[-1] for run in result["runs"]] == ["500 rows"] * 2 + ["2,000 rows"] * 2
    assert all(run["exact"] for run in result["runs"])

    result = _bench(servers, tmp_path, "growth", "--engine=direct", "--soak=0.05")
    assert list(result["memory"]) == ["start", "middle", "end"]
    assert all(sample["sink"] > 1e6 for sample in result["memory"].values())


@pytest.mark.long  # on a busy machine the benchmark's producer requests its topic again and so recreates it
def test_idle_processes_are_measured(servers: Settings, tmp_path: Path) -> None:
    result = _bench(servers, tmp_path, "idle", "--engine=direct", "--seconds=4")
    assert result["idle"]["sink"]["memory"] > 1 and result["one_order_per_2_s"]["sink"]["cpu"] >= 0
    assert result["restart_after_sigkill_s"] > 0 and result["up_to_first_order_s"] > 1
    until(lambda: not _leftovers(servers))  # a broker deletes a topic with a short delay


def test_a_wrong_table_is_detected(database: Settings, tmp_path: Path) -> None:
    with Progress(disable=True) as progress:
        server = msgspec.structs.replace(database, mysql_database="mysql")
        sql.execute(server, f"CREATE DATABASE {database.mysql_database} CHARACTER SET utf8mb4")
        limit.make_table(database)
        files = limit.make_files(islice(backlog.messages(), 25_000), tmp_path)
        limit.load(database, files.paths, 2, progress)
        assert backlog.check(database, 25_000, progress).exact

        sql.execute(database, f"DELETE FROM orders WHERE order_id = 'ORDER-{backlog.FIRST}'")
        sql.execute(database, f"UPDATE orders SET quantity = 0 WHERE order_id = 'ORDER-{backlog.FIRST + 24_000}'")
        sql.execute(database, "UPDATE orders SET order_id = 'ORDER-9' ORDER BY order_id DESC LIMIT 1")
        verdict = backlog.check(database, 25_000, progress)
    assert verdict == (25_000, 2, 1, 1, f"ORDER-{backlog.FIRST}") and not verdict.exact


def test_a_server_that_is_less_durable_is_refused(servers: Settings, tmp_path: Path) -> None:
    server = msgspec.structs.replace(servers, mysql_database="mysql")
    sql.execute(server, "SET GLOBAL sync_binlog = 0")
    try:
        refused = processes.run(servers, "limit", "--rows=10", cwd=tmp_path, module="benchmarks")
    finally:
        sql.execute(server, "SET GLOBAL sync_binlog = 1")
    assert refused.returncode == 2
    assert "less durable" in refused.stderr and "sync_binlog" in refused.stderr
