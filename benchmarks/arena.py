"""The environment of a benchmark: its servers, a fresh database and topic for each run, and facts about the machine."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
from confluent_kafka.admin import AdminClient

from benchmarks import bench_statements
from orderflow import topic
from orderflow.embedded import debian
from orderflow.embedded.database import Database
from orderflow.embedded.kafka import Kafka
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import LocalServer, Process
from orderflow.embedded.spark_cluster import SparkMaster, SparkWorker
from orderflow.errors import InputInvalid
from orderflow.settings import Settings, is_given
from orderflow.store import server
from orderflow.store.connection import Connection

_DURABLE = {"innodb_flush_log_at_trx_commit": 1, "innodb_doublewrite": True, "log_bin": True, "sync_binlog": 1}


class Arena(NamedTuple):
    """The servers of a benchmark. Each run uses `settings` with its own names of database and topic."""

    folder: Path
    settings: Settings
    machine: dict[str, object]
    servers: dict[str, int]  # name to process id of those started here

    @contextmanager
    def database(self, topic_name: str) -> Iterator[Settings]:
        """Create a database for the records of this topic, and drop it afterwards."""
        names = {"mysql_database": _unique_name("orderflow_bench_"), "kafka_topic": topic_name}
        settings = msgspec.structs.replace(self.settings, **names)
        with Connection(settings, database=False) as connection:
            connection.execute("create_database")
        try:
            yield settings
        finally:
            _execute(settings, "drop_database")
            self.purge_binary_logs()

    @contextmanager
    def topic(self, partitions: int = topic.DEFAULT_PARTITIONS) -> Iterator[str]:
        """Create a topic, and delete it afterwards."""
        settings = msgspec.structs.replace(self.settings, kafka_topic=_unique_name("orderflow-bench-"))
        topic.create(settings, partitions)
        try:
            yield settings.kafka_topic
        finally:
            admin = AdminClient(topic.client_config(settings))
            admin.delete_topics([settings.kafka_topic])[settings.kafka_topic].result()

    @contextmanager
    def spark(self, workers: int) -> Iterator[str]:
        """Run a Spark cluster with this number of workers. Yields the master's URL."""
        master = SparkMaster(self.folder / "spark-master", free_port())
        servers = [master, *(SparkWorker(self.folder / f"spark-{number}", number, master) for number in range(workers))]
        with ExitStack() as stack:
            for server in servers:
                stack.callback(server.kill)
                server.start()
            for server in servers:
                server.wait_ready()
            yield master.url

    def purge_binary_logs(self) -> None:
        """Remove binary logs, which become as large as the tables, if the benchmark started the server."""
        if "Database" in self.servers:
            _execute(self.settings, "purge_logs")

    @contextmanager
    def tables_in_memory(self) -> Iterator[None]:
        """Enlarge the database's buffer pool meanwhile, if the benchmark started the server."""
        if "Database" not in self.servers:
            yield
            return
        with Connection(self.settings, database=False) as connection:
            [(_, shipped)] = bench_statements.execute(connection, "select_durability").rows
            available = psutil.virtual_memory().available // 3
            size = shipped * max(1, available // shipped)  # MySQL only accepts multiples
            bench_statements.execute(connection, "set_buffer_pool", {"bytes": size})
            yield
            bench_statements.execute(connection, "set_buffer_pool", {"bytes": shipped})
            while int(bench_statements.execute(connection, "show_buffer_pool").rows[0][1]) > shipped:
                time.sleep(0.1)

    def orderflow(
        self, name: str, settings: Settings, *arguments: str, env: Mapping[str, str] | None = None
    ) -> Process:
        """Return the process `orderflow ARGUMENTS`, not started yet. Messages call it `name`."""
        return self.command(name, settings, [sys.executable, "-m", "orderflow", *arguments], env)

    def command(
        self, name: str, settings: Settings, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> Process:
        """Return the process of any other command, not started yet. The settings are in its environment."""
        log = self.folder / f"{_unique_name('command-')}.log"
        return Process(name, argv, log=log, env=self.environment(settings) | dict(env or {}), cwd=self.folder)

    def environment(self, settings: Settings) -> dict[str, str]:
        """Return the environment for a command that uses these servers. Its working folder contains no .env file."""
        return os.environ | settings.environment()


@contextmanager
def opened(settings: Settings) -> Iterator[Arena]:
    """Start servers in ORDERFLOW_HOME, so on the disk of a user's data; or use the servers that the settings name.

    Raises StartFailed, and InputInvalid if the database is configured to be less durable than by default.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=settings.home)))
        started: list[LocalServer] = []
        if not is_given("kafka_bootstrap_servers"):
            started.append(Kafka(folder / "kafka", free_port()))
            settings = msgspec.structs.replace(settings, kafka_bootstrap_servers=started[-1].address)
        if not is_given("mysql_host"):
            mysqld = shutil.which("mysqld") or debian.available()
            database = Database(folder / "database", free_port(), "mysql" if mysqld else None)
            started.append(database)
            settings = msgspec.structs.replace(
                settings,
                mysql_host="127.0.0.1",
                mysql_port=database.port,
                mysql_user=database.user,
                mysql_password=database.password,
            )
        for local_server in started:
            stack.callback(local_server.kill)  # its data is temporary
            local_server.start()
        for local_server in started:
            local_server.wait_ready()
        yield Arena(folder, settings, _machine(settings, folder), {s.name: s.process.identity[0] for s in started})


def _machine(settings: Settings, folder: Path) -> dict[str, object]:
    found = server.read(settings)
    with Connection(settings, database=False) as connection:
        [(doublewrite, buffer_pool)] = bench_statements.execute(connection, "select_durability").rows
    durability = {
        "innodb_flush_log_at_trx_commit": found.flush_log_at_commit,
        "innodb_doublewrite": str(doublewrite) not in ("0", "OFF"),
        # MariaDB ships without a binary log.
        "log_bin": bool(found.log_bin) or found.is_mariadb,
        "sync_binlog": found.sync_binlog if not found.is_mariadb else 1,
    }
    if durability != _DURABLE:
        raise InputInvalid(
            f"MySQL at {settings.database_address} is less durable than by default: {durability}.",
            hint=f"Set these variables to {_DURABLE}. Figures with less durability are not comparable.",
        )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_before": os.getloadavg()[0],
        "kernel": platform.platform(),
        "file_system": _file_system(folder) if not is_given("mysql_host") else "of the database server named",
        "python": platform.python_version(),
        "database": found.version,
        "binary_log": bool(found.log_bin),
        "buffer_pool_mb": buffer_pool // 2**20,
        "kafka": "external" if is_given("kafka_bootstrap_servers") else Kafka(folder, 0).describe(),
        "spark": metadata.version("pyspark"),
        "compression": settings.kafka_compression,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(folder: Path) -> str:
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def _execute(settings: Settings, name: str) -> None:
    with Connection(settings, database=False) as connection:
        bench_statements.execute(connection, name)


def _unique_name(prefix: str) -> str:
    return prefix + uuid.uuid4().hex[:12]
