"""What `orderflow up` runs in one folder: the servers that no setting names, and OrderFlow's own commands.

The folder's `state.json` lets other terminals find it, and the next `up` find what a killed one left behind.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from orderflow.embedded.database import Database
from orderflow.embedded.kafka import Kafka, cluster
from orderflow.embedded.process import LocalServer, Process, free_port, is_running, stop_leftover
from orderflow.embedded.spark import SparkMaster, SparkWorker
from orderflow.errors import AlreadyRunning, StartFailed
from orderflow.settings import Settings, is_given

log = logging.getLogger(__name__)

_STOP = 60.0  # seconds a part is given to stop in order
_AGAIN = 1.0  # seconds before a part that was killed is started again
KAFKA_PORT, DATABASE_PORT = 9092, 3306  # wanted; another is taken where they are not free
_SPARE = {"dashboard"}  # no order waits for it

_STAMP = re.compile(r"\A[0-9T:-]+Z [A-Z]+ +")  # before a line's message

Identity = tuple[int, float]


class _JsonLine(msgspec.Struct):
    message: str


class State(msgspec.Struct, kw_only=True):
    """What another process must know. Secrets stay in the files that the servers keep them in."""

    up: Identity
    bootstrap_servers: str | None = None  # of the embedded brokers, if there are any
    database_port: int | None = None  # of the embedded database, if there is one
    parts: dict[str, Identity] = {}


class Stack:
    """The parts of one `orderflow up`, started side by side and stopped in order."""

    def __init__(self, settings: Settings, brokers: int = 1, workers: int = 0) -> None:
        """Choose what is embedded and where it listens; nothing is started yet.

        With `workers`, the sink runs on a Spark cluster of so many, else in a process of its own.
        """
        self.home = settings.home
        self.brokers = [] if is_given("kafka_bootstrap_servers") else _brokers(self.home, brokers)
        self.database = None if is_given("mysql_host") else _database(self.home, _port("the database", DATABASE_PORT))
        self.master = SparkMaster(self.home / "spark-master", free_port()) if workers else None
        self.workers = [
            SparkWorker(self.home / f"spark-worker-{number}", number, self.master)
            for number in range(1, workers + 1)
            if self.master
        ]
        self._state = State(
            up=_identity(os.getpid()),
            bootstrap_servers=",".join(broker.address for broker in self.brokers) or None,
            database_port=self.database.port if self.database else None,
        )
        dashboard_port = _port("the dashboard", settings.dashboard_port)
        self.settings = msgspec.structs.replace(_reaching(settings, self._state), dashboard_port=dashboard_port)
        self.commands: dict[str, Process] = {}

    @property
    def servers(self) -> list[LocalServer]:
        """The embedded ones."""
        return [server for server in (*self.brokers, self.database, self.master, *self.workers) if server]

    def start_servers(self) -> None:
        """Start the embedded servers and return at once."""
        for server in self.servers:
            server.start()
            self._record(server.name, server.process)

    def start_command(self, name: str, arguments: Sequence[str]) -> Process:
        """Start `orderflow NAME ARGUMENTS` against these servers; its log is logs/NAME.log."""
        logs = self.home / "logs"
        logs.mkdir(exist_ok=True)
        process = Process(
            f"orderflow {name}",
            [sys.executable, "-m", "orderflow", name, *arguments],
            log=logs / f"{name}.log",
            env=os.environ | self.settings.environment(),
            cwd=logs,
        )
        process.start()
        self.commands[name] = process
        self._record(name, process)
        return process

    def revive(self) -> None:
        """Start again what was killed.

        Raises StartFailed if a command ended by itself with an error: it said why, and starting it again would
        only repeat that.
        """
        for server in self.servers:
            if not server.process.alive:
                log.warning("%s is gone; starting it again.", server.name)
                time.sleep(_AGAIN)
                server.start()
                self._record(server.name, server.process)
        for name, process in list(self.commands.items()):
            code = process.exit_code
            if code is not None and code < 0:
                log.warning("orderflow %s was killed by signal %d; starting it again.", name, -code)
                time.sleep(_AGAIN)
                process.start()
                self._record(name, process)
            elif code:
                failure = process.failure(f"orderflow {name} ended with exit code {code}.")
                if name not in _SPARE:
                    raise failure
                log.warning("%s", failure.message)
                del self.commands[name]

    def stop_command(self, name: str) -> None:
        """Stop it in order, if it runs."""
        if name in self.commands:
            self.commands[name].stop(_STOP)

    def stop_servers(self) -> None:
        """Stop them, side by side."""
        for server in self.servers:
            server.process.terminate()
        for server in self.servers:
            server.stop(_STOP)

    def kill(self) -> None:
        """Leave nothing running."""
        for process in (*self.commands.values(), *(server.process for server in self.servers)):
            process.kill()

    def _record(self, name: str, process: Process) -> None:
        self._state.parts[name] = process.identity
        _write(self.home, self._state)


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the folder, after stopping what a killed `up` has left in it.

    Raises AlreadyRunning while another `up` holds it.
    """
    home = settings.home
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = _read(home)
            raise AlreadyRunning(
                f"`orderflow up` runs already in {home}{f', as process {state.up[0]}' if state else ''}.",
                hint="`orderflow status` shows it, `orderflow down` stops it; another ORDERFLOW_HOME is another place.",
            ) from None
        _stop_leftovers(home)
        try:
            yield
        finally:
            _path(home).unlink(missing_ok=True)


def down(settings: Settings) -> bool:
    """Stop the `up` of this folder, or what a killed one left. False if there was nothing to stop."""
    state = _read(settings.home)
    if state is None:
        return False
    if is_running(*state.up):
        with suppress(ProcessLookupError):
            os.kill(state.up[0], signal.SIGTERM)
        deadline = time.monotonic() + 3 * _STOP  # producer, sink, servers
        while is_running(*state.up) and time.monotonic() < deadline:
            time.sleep(0.1)
        return True
    return _stop_leftovers(settings.home)


def running(settings: Settings) -> Settings | None:
    """Settings that reach the `up` of this folder; None if none runs. What the user has set stays."""
    state = _read(settings.home)
    return _reaching(settings, state) if state and is_running(*state.up) else None


def last_said(settings: Settings, name: str) -> str | None:
    """What this command of the folder's `up` last logged, without time and level; None if none runs, or nothing yet."""
    state = _read(settings.home)
    path = settings.home / "logs" / f"{name}.log"
    if state is None or not is_running(*state.up) or not path.exists():
        return None
    with path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
        line = next(reversed(log.read().decode(errors="replace").splitlines()), None)
    return line and _message(line)


def _message(line: str) -> str:
    """Of a log line in either LOG_FORMAT; a line of another form, such as the JVM's, as it is."""
    try:
        return msgspec.json.decode(line, type=_JsonLine).message
    except msgspec.DecodeError:
        return _STAMP.sub("", line)


def _reaching(settings: Settings, state: State) -> Settings:
    if state.bootstrap_servers and not is_given("kafka_bootstrap_servers"):
        settings = msgspec.structs.replace(settings, kafka_bootstrap_servers=state.bootstrap_servers)
    if state.database_port and not is_given("mysql_host"):
        database = _database(settings.home, state.database_port)
        settings = msgspec.structs.replace(
            settings,
            mysql_host="127.0.0.1",
            mysql_port=database.port,
            mysql_user=database.user,
            mysql_password=database.password,
            mysql_password_file="",
        )
    return settings


def _port(name: str, wanted: int) -> int:
    found = free_port(wanted)
    if found != wanted:
        log.warning("Port %d is taken: %s gets port %d.", wanted, name, found)
    return found


def _brokers(home: Path, count: int) -> list[Kafka]:
    wanted = [_port("Kafka", KAFKA_PORT), *(free_port() for _ in range(count - 1))]
    return cluster(home, wanted)


def _database(home: Path, port: int) -> Database:
    return Database(home / "database", port)


def _stop_leftovers(home: Path) -> bool:
    state = _read(home)
    if state is None:
        return False
    # The last started is stopped first: commands before the servers they use.
    stopped = [name for name, part in reversed(state.parts.items()) if stop_leftover(*part, timeout=_STOP)]
    if stopped:
        log.warning("Stopped what an earlier run had left: %s.", ", ".join(stopped))
    _path(home).unlink(missing_ok=True)
    return bool(stopped)


def _identity(pid: int) -> Identity:
    return pid, psutil.Process(pid).create_time()


def _path(home: Path) -> Path:
    return home / "state.json"


def _read(home: Path) -> State | None:
    try:
        return msgspec.json.decode(_path(home).read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StartFailed(f"{_path(home)} is damaged: {error}.", hint="Remove it if nothing runs there.") from error


def _write(home: Path, state: State) -> None:
    new = _path(home).with_suffix(".new")
    new.write_bytes(msgspec.json.encode(state))
    new.replace(_path(home))
