"""The system under test: broker and database behind proxies, a sink, and several kinds of producers."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

import msgspec
import mysql.connector
import psutil
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from kafka import KafkaProducer

from orderflow import audit, topic
from orderflow.embedded import debian
from orderflow.embedded.database import Database, DatabaseKind
from orderflow.embedded.kafka import Kafka
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import Process
from orderflow.produce.generator import Generator
from orderflow.settings import Settings
from tests.faults import transactions
from tests.faults.count import Count, count
from tests.faults.proxy import Proxy, without_tls
from tests.support import corpus
from tests.support.processes import run, until
from tests.support.sql import raw_session, select

Engine = Literal["spark", "direct"]
Part = Kafka | Database | Process

_HOOKS = Path(__file__).with_name("hooks")
_USER, _PASSWORD = "orderflow", "first"
LOCK_TIMEOUT = 1  # seconds; 50 by default
_LARGEST = 100_000  # bytes; larger values of the corpus only take time


class ProxiedKafka(Kafka):
    """A broker that directs the sink's and the producers' clients to one proxy each, and other clients to itself."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        self.for_sink, self.for_producers = Proxy(free_port()), Proxy(free_port())

    def _script(self) -> str:
        script = super()._script()
        path = self.folder / "server.properties"
        sink, producers = self.for_sink, self.for_producers
        added = {
            "listeners": f",SINK://127.0.0.1:{sink.target},PRODUCER://127.0.0.1:{producers.target}",
            "advertised.listeners": f",SINK://127.0.0.1:{sink.port},PRODUCER://127.0.0.1:{producers.port}",
        }
        lines = [line + added.get(line.partition("=")[0], "") for line in path.read_text().splitlines()]
        names = ("PLAINTEXT", "CONTROLLER", "SINK", "PRODUCER")
        lines += [
            "listener.security.protocol.map=" + ",".join(f"{name}:PLAINTEXT" for name in names),
            "inter.broker.listener.name=PLAINTEXT",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms=500",
            # Until its next checkpoint, a kill of the broker undoes the removal of records.
            "log.initial.task.delay.ms=500",
            "log.flush.start.offset.checkpoint.interval.ms=500",
        ]
        path.write_text("\n".join(lines) + "\n")
        return script


class ProxiedDatabase(Database):
    """A database with a short lock timeout. Its proxy reads statements, and opens once the database is ready."""

    def __init__(self, folder: Path, port: int, kind: DatabaseKind) -> None:
        super().__init__(folder, port, kind)
        self.proxy = Proxy(port, greeting=without_tls)

    def _script(self) -> str:
        return f"{super()._script().rstrip()} --innodb-lock-wait-timeout={LOCK_TIMEOUT}\n"

    def start(self) -> None:
        self.proxy.down = True
        super().start()

    def wait_ready(self, timeout: float = 120) -> None:
        super().wait_ready(timeout)
        self.create_sink_user(_PASSWORD)
        self.proxy.down = False

    def create_sink_user(self, password: str) -> None:
        """Create the sink's user and log in. Without TLS, MySQL then accepts it until a restart or a new password."""
        root = {"host": "127.0.0.1", "port": self.port, "user": self.user, "password": self.password}
        with mysql.connector.connect(**root, autocommit=True) as connection:
            cursor = connection.cursor()
            for statement in ("CREATE USER IF NOT EXISTS", "ALTER USER"):
                cursor.execute(f"{statement} '{_USER}'@'127.0.0.1' IDENTIFIED BY '{password}'")
        mysql.connector.connect(**root | {"user": _USER, "password": password}).close()


@dataclass
class Servers:
    """The broker and the database. Several systems use them, one after the other."""

    folder: Path
    kafka: ProxiedKafka
    database: ProxiedDatabase

    def root(self) -> Settings:
        """Return settings with all rights, which bypass the proxies and name no database."""
        return Settings(
            kafka_bootstrap_servers=self.kafka.address,
            mysql_host="127.0.0.1",
            mysql_port=self.database.port,
            mysql_user=self.database.user,
            mysql_password=self.database.password,
            mysql_database="mysql",
        )


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    kind: DatabaseKind = "mysql" if shutil.which("mysqld") or debian.available() else "mariadb"
    kafka = ProxiedKafka(folder / "kafka", free_port())
    database = ProxiedDatabase(folder / "database", free_port(), kind)
    with kafka.for_sink, kafka.for_producers, database.proxy, ExitStack() as stack:
        for server in (kafka, database):
            stack.callback(server.kill)
            server.start()
        for server in (kafka, database):
            server.wait_ready()
        yield Servers(folder, kafka, database)


@dataclass
class System:
    """One topic, one database and one sink. `rng` makes every random choice of a fault."""

    servers: Servers
    name: str
    engine: Engine
    rng: Random
    longest_pause: float = 3.0  # seconds for which a process may be stopped
    rate: int = 50  # orders per second of `orderflow produce`
    trigger: str = "micro-batch"  # of the Spark engine
    refused: set[str] = field(default_factory=set)  # orders that the database has refused
    _mark: int = 0
    _sinks: int = 0
    _databases: list[str] = field(default_factory=list)
    _custom_fields: list[str] = field(default_factory=list)
    _parts: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.kafka, self.database = self.servers.kafka, self.servers.database
        self.folder = self.servers.folder / self.name
        self.plans = self.folder / "plans"
        self.plans.mkdir(parents=True)
        self._parts.callback(self._kill_taken)
        self.admin_settings = msgspec.structs.replace(
            self.servers.root(), kafka_topic=f"orders-{self.name}", mysql_database=f"faults_{self.name}"
        )
        self.settings = msgspec.structs.replace(
            self.admin_settings,
            kafka_bootstrap_servers=f"127.0.0.1:{self.kafka.for_sink.port}",
            mysql_port=self.database.proxy.port,
            mysql_user=_USER,
            mysql_password=_PASSWORD,
            sink_trigger=self.trigger,
        )
        self.admin = AdminClient({"bootstrap.servers": self.admin_settings.kafka_bootstrap_servers, "log_level": 0})
        self.sink = self._new_sink()
        producer_settings = msgspec.structs.replace(
            self.settings, kafka_bootstrap_servers=f"127.0.0.1:{self.kafka.for_producers.port}"
        )
        self.producer = self.orderflow(
            *("producer", "produce", "--rate", str(self.rate), "--bad", "0.02", "--repeat", "0.02", "--json"),
            settings=producer_settings,
        )
        self.producer_settings = producer_settings
        address, seed = producer_settings.kafka_bootstrap_servers, str(self.rng.random())
        self.transactional = self._process(
            "transactional", [sys.executable, transactions.__file__, address, self.admin_settings.kafka_topic, seed], {}
        )

    def __enter__(self) -> System:
        try:
            self._create_database()
            topic.create(self.admin_settings)
            for process in (self.producer, self.transactional, self.sink):
                process.start()
            until(lambda: self.sql("SHOW TABLES LIKE 'orders_ledger'"), self.sink)
            self.until_caught_up()
        except BaseException:
            self._parts.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()
        for proxy in (self.kafka.for_sink, self.kafka.for_producers, self.database.proxy):
            proxy.remove_faults()
        for server in (self.kafka, self.database):  # a failed fault may have left it in any state
            if not server.process.alive:
                self.restart(server)
            send_signal(server.process.identity[0], signal.SIGCONT)
        for name in self._databases:
            self.sql(f"DROP DATABASE {name}", database="mysql")
        name = self.admin_settings.kafka_topic
        if name in self.admin.list_topics(timeout=10).topics:
            self.admin.delete_topics([name])[name].result()

    # Actions.

    def sql(self, statement: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run the statement as root, without the proxy."""
        settings = (
            msgspec.structs.replace(self.admin_settings, mysql_database=database) if database else self.admin_settings
        )
        return select(settings, statement)

    def plan(self, point: str, act: str) -> None:
        """Plan what the next process does at this kill point; see hooks/sitecustomize.py."""
        for taken in self.plans.glob("taken.*"):
            taken.unlink()
        new = self.plans / "new"
        new.write_text(act)
        new.rename(self.plans / point)

    def until_taken(self) -> int:
        """Wait until a process carries out the plan, and return its pid."""
        until(self._taken)
        return self._taken()[0]

    def _taken(self) -> list[int]:
        return [int(path.suffix[1:]) for path in self.plans.glob("taken.*")]

    def _kill_taken(self) -> None:
        """Kill the processes that stopped themselves, because they survive the end of their group."""
        for pid in self._taken():
            if psutil.pid_exists(pid) and {"orderflow", "orderflow.spark.daemon"}.intersection(
                psutil.Process(pid).cmdline()
            ):
                send_signal(pid, signal.SIGKILL)

    def pause(self, process: Process) -> None:
        """Send SIGSTOP, and SIGCONT some time later."""
        with stopped(process.identity[0]):
            time.sleep(self.rng.uniform(1, self.longest_pause))

    def replace_sink(self) -> None:
        """Start another sink, which becomes the system's sink. The former one keeps running."""
        self.sink, self._mark = self._new_sink(), 0
        self.sink.start()

    def _new_sink(self) -> Process:
        self._sinks += 1
        return self.orderflow(f"sink-{self._sinks}", "sink", "--json", "--engine", self.engine)

    def _create_database(self) -> None:
        name = self.admin_settings.mysql_database
        self.sql(f"CREATE DATABASE {name}", database="mysql")
        self._databases.append(name)
        self.sql(f"GRANT ALL ON {name}.* TO '{_USER}'@'127.0.0.1'")

    def extend_contract(self) -> str:
        """Add a field to the contract of the sink that starts next and of the audit, and return the field's name."""
        self._custom_fields.append(f"note_{len(self._custom_fields)}")
        text = "".join(f'[fields.{name}]\ntype = "string"\nrequired = false\n' for name in self._custom_fields)
        path = self.folder / "contract.toml"
        path.write_text(text, "utf-8")
        self.admin_settings, self.settings = (
            msgspec.structs.replace(settings, order_contract=str(path), order_contract_text=text)
            for settings in (self.admin_settings, self.settings)
        )
        return self._custom_fields[-1]

    def replace_tables(self) -> None:
        """Create new tables, and start a new sink and new producers for the topic, which may have fewer partitions."""
        name = f"{self._databases[0]}_{len(self._databases)}"
        self.admin_settings, self.settings = (
            msgspec.structs.replace(settings, mysql_database=name) for settings in (self.admin_settings, self.settings)
        )
        self._create_database()
        self.refused.clear()
        self.replace_sink()
        for producer in (self.producer, self.transactional):
            producer.kill()
            producer.start()
        # Before this line, SIGTERM would end the producer without its own handler.
        until(lambda: any("Sending to" in line for line in self.producer.last_lines()), self.producer)
        until(lambda: self.sql("SHOW TABLES LIKE 'orders_ledger'"), self.sink)

    def run(self, *arguments: str) -> None:
        """Run `orderflow ARGUMENTS`, which must succeed."""
        result = run(self.settings, *arguments, cwd=self.folder)
        assert result.returncode == 0, result.stderr

    def restart(self, server: Kafka | Database) -> None:
        server.start()
        server.wait_ready()

    def cut_sessions(self) -> None:
        """Reset the sink's connections to the database, so that it opens new ones."""
        self.database.proxy.cut()

    def send_garbage(self, count: int = 100) -> None:
        """Send values of the bad-input corpus with kafka-python, with any key, to any partition."""
        client = KafkaProducer(bootstrap_servers=self.producer_settings.kafka_bootstrap_servers)
        values = [case.value for case in corpus.CASES if len(case.value or b"") < _LARGEST]
        for value in self.rng.choices(values, k=count):
            key = self.rng.choice([b"", b"key", value, None])
            client.send(
                self.admin_settings.kafka_topic, value=value, key=b"" if value is None else key
            )  # never both None
        client.flush(60)
        client.close()

    def send(
        self,
        start: int,
        count: int,
        partition: int = -1,
        clock: Callable[[], float] = time.time,
        added_fields: bytes = b"",
    ) -> None:
        """Send valid orders with these numbers, without the proxies. `added_fields` are added: `, "name": "value"`."""
        client = Producer({"bootstrap.servers": self.admin_settings.kafka_bootstrap_servers})
        for number, (key, value, _) in zip(range(count), Generator(start, clock=clock), strict=False):
            part = partition if partition >= 0 else number % self.partitions()
            assert value
            client.produce(self.admin_settings.kafka_topic, value[:-1] + added_fields + value[-1:], key, part)
        assert client.flush(60) == 0

    @property
    def may_be_realtime(self) -> bool:
        """Whether the sink may run in real-time mode now."""
        return self.trigger in ("realtime", "auto")

    def partitions(self) -> int:
        return len(topic.describe(self.admin_settings).partitions)

    def orderflow(self, name: str, *arguments: str, settings: Settings | None = None) -> Process:
        path = os.pathsep.join(filter(None, [str(_HOOKS), os.environ.get("PYTHONPATH")]))
        hooks = {"PYTHONPATH": path, "ORDERFLOW_FAULTS": str(self.plans), "TZ": "Europe/Berlin"}
        environment = (settings or self.settings).environment() | hooks
        return self._process(name, [sys.executable, "-m", "orderflow", *arguments], environment)

    @contextmanager
    def started(self, process: Process) -> Iterator[Process]:
        """Run the process while the block lasts."""
        process.start()
        try:
            yield process
        finally:
            process.kill()

    def _process(self, name: str, argv: list[str], environment: dict[str, str]) -> Process:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("KAFKA_", "MYSQL_"))}
        log = self.folder / f"{name}.log"
        process = Process(name, argv, log=log, env=inherited | environment, cwd=self.folder)
        self._parts.callback(process.kill)  # does nothing if the process has ended
        return process

    # Checks.

    def sink_processes(self, name: str) -> list[psutil.Process]:
        """Return the sink's processes whose command line contains `name`."""
        processes = []
        for child in psutil.Process(self.sink.identity[0]).children(recursive=True):
            try:
                if name in child.cmdline():
                    processes.append(child)
            except psutil.NoSuchProcess:
                continue
        return processes

    def mark(self) -> None:
        """Set the position in the sink's log from which `has_logged` and `wait_for_log` read."""
        self._mark = self.sink.log.stat().st_size if self.sink.log.exists() else 0

    def has_logged(self, words: str) -> bool:
        """Return whether the sink has logged these words since the mark."""
        with self.sink.log.open("rb") as log:
            log.seek(self._mark)
            return words in log.read().decode(errors="replace")

    def wait_for_log(self, words: str) -> None:
        """Wait until the sink has logged these words since the mark."""
        until(lambda: self.has_logged(words), self.sink)

    def logs_within(self, words: str, seconds: float = 10) -> bool:
        """Return whether the sink has logged these words since the mark, or logs them within `seconds`."""
        with suppress(AssertionError):
            until(lambda: self.has_logged(words), self.sink, seconds)
        return self.has_logged(words)

    def positions(self) -> dict[int, int]:
        return dict(self.sql("SELECT kafka_partition, next_offset FROM orders_ledger"))

    def until_it_stores(self, sink: Process | None = None) -> None:
        """Wait until the ledger's positions change."""
        before = self.positions()
        until(lambda: self.positions() != before, sink or self.sink)

    def until_caught_up(self, sink: Process | None = None) -> None:
        """Wait until everything now in the topic is stored: send an order to each partition and wait for it."""
        first, partitions = self.rng.randrange(10**9, 10**12), self.partitions()
        self.send(first, partitions)
        ids = ", ".join(f"'ORDER-{number}'" for number in range(first, first + partitions))
        count_stored = f"SELECT COUNT(*) FROM orders WHERE order_id IN ({ids})"
        until(lambda: self.sql(count_stored) == [(partitions,)], sink or self.sink)

    def prove(self) -> None:
        """Wait until everything sent so far is stored, and audit it while the system keeps running."""
        self.until_caught_up()
        assert self.sink.alive, self.sink.last_lines()
        report = audit.run(self.admin_settings)
        findings = [finding.description for kind in report.counts for finding in report.listed(kind)[:3]]
        assert report.is_proven, (report.sentence(), findings)

    def drain(self) -> Count:
        """Stop the producers, let the sink store everything, and prove it twice."""
        for producer in (self.producer, self.transactional):
            producer.terminate()
            until(lambda producer=producer: not producer.alive)  # type: ignore[misc]
        assert self.producer.exit_code == 0, self.producer.last_lines()
        self.prove()
        counted = count(self.admin_settings, self.refused)
        report = audit.run(self.admin_settings)
        assert Count(report.records, report.stored, report.duplicates, report.quarantined) == counted
        return counted

    def session(self) -> Any:
        """Return a session as root, without the proxy, with an open transaction."""
        return raw_session(self.admin_settings)


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Stop these processes with SIGSTOP while the block lasts."""
    for pid in pids:
        send_signal(pid, signal.SIGSTOP)
        until(lambda pid=pid: psutil.Process(pid).status() == psutil.STATUS_STOPPED)  # type: ignore[misc]
    try:
        yield
    finally:
        for pid in pids:
            send_signal(pid, signal.SIGCONT)


def ended(process: Process) -> int | None:
    """Wait until the process ends, and return its exit code."""
    until(lambda: not process.alive)
    return process.exit_code


def send_signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


Fault = Callable[[System], None]
