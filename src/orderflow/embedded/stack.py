"""The processes of `orderflow up` in one folder: the embedded servers and the OrderFlow commands.

A server is embedded if no setting names an external one. Other commands read the folder's `state.json` to find the
servers, and the next `up` reads it to find processes that a killed `up` left behind.
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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from orderflow.embedded.database import Database
from orderflow.embedded.kafka import Kafka, cluster
from orderflow.embedded.process import LocalServer, Process, free_port, is_running, stop_leftover
from orderflow.embedded.spark_cluster import SparkMaster, SparkWorker
from orderflow.errors import AlreadyRunning, FileUnusable, StartFailed
from orderflow.jvm import cache
from orderflow.settings import Settings, is_given

log = logging.getLogger(__name__)

_STOP_TIMEOUT = 60.0  # seconds that a process has to stop gracefully
_RESTART_WAIT = 1.0  # seconds before a killed process is restarted
_MAX_RESTARTS, _RESTART_WINDOW = 5, 300.0  # of one process, in this many seconds
KAFKA_PORT, DATABASE_PORT = 9092, 3306  # preferred; if one is not free, another port is used
_OPTIONAL_COMMANDS = {"dashboard"}  # commands whose failure does not stop the others

_LOG_PREFIX = re.compile(r"\A[0-9T:-]+Z [A-Z]+ +")  # time and level, before a line's message

Identity = tuple[int, float]


class _JsonLine(msgspec.Struct):
    message: str


class State(msgspec.Struct, kw_only=True):
    """The content of state.json. Secrets are not part of it; they stay in the servers' files."""

    up: Identity
    bootstrap_servers: str | None = None  # of the embedded brokers; None if there are none
    database_port: int | None = None  # of the embedded database; None if there is none
    parts: dict[str, Identity] = {}


class Stack:
    """The processes of one `orderflow up`, started in parallel and stopped in order."""

    def __init__(self, settings: Settings, brokers: int = 1, workers: int = 0) -> None:
        """Choose the embedded servers and their ports; start nothing yet.

        With `workers`, the sink runs on a Spark cluster of that many workers, else in its own process.
        """
        self.home = settings.home
        self._choice = ExitStack()
        self._choice.enter_context(_choosing_ports())
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
        self.settings = msgspec.structs.replace(_with_addresses(settings, self._state), dashboard_port=dashboard_port)
        self.commands: dict[str, Process] = {}
        self._endless: set[str] = set()  # names of the commands that run until they are stopped
        self._restarts: dict[str, list[float]] = {}  # by process: when it was restarted

    @property
    def servers(self) -> list[LocalServer]:
        """The embedded servers."""
        return [server for server in (*self.brokers, self.database, self.master, *self.workers) if server]

    def start_servers(self) -> None:
        """Start the embedded servers without waiting."""
        for server in self.servers:
            server.start()
            self._record(server.name, server.process)

    def wait_ready(self) -> Iterator[LocalServer]:
        """Yield each embedded server when it is ready."""
        for server in self.servers:
            server.wait_ready()
            yield server
        self._choice.close()

    def start_command(self, name: str, arguments: Sequence[str], *, endless: bool = True) -> Process:
        """Start `orderflow NAME ARGUMENTS` against these servers; its log is logs/NAME.log.

        An `endless` command runs until it is stopped.
        """
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
        if endless:
            self._endless.add(name)
        self._record(name, process)
        return process

    def restart_stopped(self) -> None:
        """Restart the processes that were killed or stopped by something else than this process.

        Raises StartFailed if a command ended with an error: it has logged the cause, and a restart would only repeat
        the error. Raises it too if a process has stopped too often.
        """
        for server in self.servers:
            if not server.process.alive:
                self._wait_to_restart(server.name, server.process)
                log.warning("%s has stopped; restarting it.", server.name)
                server.start()
                self._record(server.name, server.process)
        for name, process in list(self.commands.items()):
            code = process.exit_code
            if code is not None and (code < 0 or (code == 0 and name in self._endless)):
                self._wait_to_restart(f"orderflow {name}", process)
                cause = f"killed by signal {-code}" if code else "stopped by a signal"
                log.warning("orderflow %s was %s; restarting it.", name, cause)
                process.start()
                self._record(name, process)
            elif code:
                failure = process.failure(f"orderflow {name} ended with exit code {code}.")
                if name not in _OPTIONAL_COMMANDS:
                    raise failure
                log.warning("%s", failure.message)
                del self.commands[name]

    def _wait_to_restart(self, name: str, process: Process) -> None:
        """Wait a moment. Raises StartFailed if the process has been restarted too often."""
        now = time.monotonic()
        recent = [at for at in self._restarts.get(name, []) if now - at < _RESTART_WINDOW]
        if len(recent) == _MAX_RESTARTS:
            raise process.failure(f"{name} stopped {_MAX_RESTARTS + 1} times within {now - recent[0]:.0f} s.")
        self._restarts[name] = [*recent, now]
        time.sleep(_RESTART_WAIT)

    def stop_command(self, name: str) -> None:
        """Stop the command gracefully, if it runs."""
        if name in self.commands:
            self.commands[name].stop(_STOP_TIMEOUT)

    def stop_servers(self) -> None:
        """Stop the embedded servers in parallel."""
        for server in self.servers:
            server.process.terminate()
        for server in self.servers:
            server.stop(_STOP_TIMEOUT)

    def kill(self) -> None:
        """Kill all processes."""
        for process in (*self.commands.values(), *(server.process for server in self.servers)):
            process.kill()

    def _record(self, name: str, process: Process) -> None:
        self._state.parts[name] = process.identity
        _write_state(self.home, self._state)


@contextmanager
def lock_home(settings: Settings) -> Iterator[None]:
    """Lock the folder, and stop the processes that a killed `up` has left.

    Raises AlreadyRunning if another `up` has locked the folder.
    """
    home = settings.home
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = _read_state(home)
            raise AlreadyRunning(
                f"`orderflow up` is already running in {home}{f', as process {state.up[0]}' if state else ''}.",
                hint="`orderflow status` shows it and `orderflow down` stops it. For a second one, set ORDERFLOW_HOME.",
            ) from None
        _stop_leftovers(home)
        try:
            yield
        finally:
            _state_path(home).unlink(missing_ok=True)


def down(settings: Settings, *, timeout: float = 3 * _STOP_TIMEOUT) -> bool:  # producer, sink, servers
    """Stop the `up` of this folder, or the processes that a killed one left. Returns False if nothing was running.

    Raises AlreadyRunning if `up` is still running after `timeout` seconds, or belongs to another user.
    """
    state = _read_state(settings.home)
    if state is None:
        return False
    if is_running(*state.up):
        pid = state.up[0]
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return True
        except PermissionError as error:
            raise AlreadyRunning(
                f"The `orderflow up` of {settings.home} (process {pid}) belongs to another user.",
                hint="Run `orderflow down` as that user.",
            ) from error
        deadline = time.monotonic() + timeout
        while is_running(*state.up):
            if time.monotonic() > deadline:
                raise AlreadyRunning(
                    f"The `orderflow up` of {settings.home} (process {pid}) still runs {timeout:.0f} s after the stop"
                    " was requested.",
                    hint=f"See its output. `kill -9 {pid}` ends it; then `orderflow down` stops what it has left.",
                )
            time.sleep(0.1)
        return True
    return _stop_leftovers(settings.home)


def find_running(settings: Settings) -> Settings | None:
    """Settings with the addresses of the `up` of this folder, or None if none runs. Explicit settings are kept."""
    state = _read_state(settings.home)
    return _with_addresses(settings, state) if state and is_running(*state.up) else None


def last_log_line(settings: Settings, name: str) -> str | None:
    """The last line that this command of the folder's `up` logged, without time and level; None if there is none."""
    state = _read_state(settings.home)
    path = settings.home / "logs" / f"{name}.log"
    if state is None or not is_running(*state.up) or not path.exists():
        return None
    with path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
        line = next(reversed(log.read().decode(errors="replace").splitlines()), None)
    return line and _message(line)


def _message(line: str) -> str:
    """The message of a log line in either LOG_FORMAT. Other lines, such as the JVM's, are returned unchanged."""
    try:
        return msgspec.json.decode(line, type=_JsonLine).message
    except msgspec.DecodeError:
        return _LOG_PREFIX.sub("", line)


def _with_addresses(settings: Settings, state: State) -> Settings:
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
        log.warning("Port %d is in use: %s uses port %d instead.", wanted, name, found)
    return found


@contextmanager
def _choosing_ports() -> Iterator[None]:
    """Let other `up` of this user wait: they would choose the same ports, which are free until the servers listen."""
    with ExitStack() as locked:
        with suppress(OSError, FileUnusable):  # a read-only cache
            fcntl.flock(locked.enter_context((cache.folder() / "ports").open("w")), fcntl.LOCK_EX)
        yield


def _brokers(home: Path, count: int) -> list[Kafka]:
    wanted = [_port("Kafka", KAFKA_PORT), *(free_port() for _ in range(count - 1))]
    return cluster(home, wanted)


def _database(home: Path, port: int) -> Database:
    return Database(home / "database", port)


def _stop_leftovers(home: Path) -> bool:
    state = _read_state(home)
    if state is None:
        return False
    # In reverse order of start: commands before the servers that they use.
    stopped = [name for name, part in reversed(state.parts.items()) if stop_leftover(*part, timeout=_STOP_TIMEOUT)]
    if stopped:
        log.warning("Stopped processes of an earlier run: %s.", ", ".join(stopped))
    _state_path(home).unlink(missing_ok=True)
    return bool(stopped)


def _identity(pid: int) -> Identity:
    return pid, psutil.Process(pid).create_time()


def _state_path(home: Path) -> Path:
    return home / "state.json"


def _read_state(home: Path) -> State | None:
    try:
        return msgspec.json.decode(_state_path(home).read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StartFailed(
            f"{_state_path(home)} is damaged: {error}.",
            hint="Delete it if no process of that folder is running.",
        ) from error


def _write_state(home: Path, state: State) -> None:
    new = _state_path(home).with_suffix(".new")
    new.write_bytes(msgspec.json.encode(state))
    new.replace(_state_path(home))
