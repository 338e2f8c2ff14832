"""The processes of `orderflow up` in one folder: the embedded servers and the OrderFlow commands.

A server is embedded if no setting names an external one.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from orderflow.embedded.database import Database
from orderflow.embedded.kafka import Kafka, cluster
from orderflow.embedded.ports import choosing_ports, free_port, preferred_port
from orderflow.embedded.process import STOP_TIMEOUT, LocalServer, Process
from orderflow.embedded.spark_cluster import SparkMaster, SparkWorker
from orderflow.running_servers import state_file
from orderflow.running_servers.process_identity import identity_of
from orderflow.settings import Settings, is_given

log = logging.getLogger(__name__)

_RESTART_WAIT = 1.0  # seconds before a killed process is restarted
_MAX_RESTARTS, _RESTART_WINDOW = 5, 300.0  # of one process, in this many seconds
KAFKA_PORT, DATABASE_PORT = 9092, 3306  # preferred; if one is not free, another port is used
# Exit codes of a long-running command that a signal has stopped; the others are those of a stop that took too long.
_STOPPED = {0, 128 + signal.SIGINT, 128 + signal.SIGTERM}
_OPTIONAL_COMMANDS = {"dashboard"}  # commands whose failure does not stop the others


class Stack:
    """The processes of one `orderflow up`, started in parallel and stopped in order."""

    def __init__(self, settings: Settings, brokers: int = 1, workers: int = 0) -> None:
        """Choose the embedded servers and their ports; start nothing yet.

        With `workers`, the sink runs on a Spark cluster of that many workers, else in its own process.
        """
        self.home = settings.home
        self._port_lock = ExitStack()
        self._port_lock.enter_context(choosing_ports())
        self.brokers = [] if is_given("kafka_bootstrap_servers") else _brokers(self.home, brokers)
        self.database = None if is_given("mysql_host") else _database(self.home)
        self.master = SparkMaster(self.home / "spark-master", free_port()) if workers else None
        self.workers = [
            SparkWorker(self.home / f"spark-worker-{number}", number, self.master)
            for number in range(1, workers + 1)
            if self.master
        ]
        self._running = state_file.RunningServers(
            up=identity_of(os.getpid()),
            bootstrap_servers=",".join(broker.address for broker in self.brokers) or None,
            database_port=self.database.port if self.database else None,
        )
        dashboard_port = preferred_port("the dashboard", settings.dashboard_port)
        addressed = state_file.with_addresses(settings, self._running)
        self.settings = msgspec.structs.replace(addressed, dashboard_port=dashboard_port)
        self.commands: dict[str, Process] = {}
        self._long_running: set[str] = set()  # names of the commands that run until they are stopped
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
        self._port_lock.close()

    def start_command(self, name: str, arguments: Sequence[str], *, long_running: bool = True) -> Process:
        """Start `orderflow NAME ARGUMENTS` against these servers; its log is logs/NAME.log.

        A `long_running` command runs until it is stopped.
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
        if long_running:
            self._long_running.add(name)
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
            if code is not None and (code < 0 or (code in _STOPPED and name in self._long_running)):
                self._wait_to_restart(f"orderflow {name}", process)
                cause = f"killed by signal {-code}" if code < 0 else "stopped by a signal"
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
            self.commands[name].stop(STOP_TIMEOUT)

    def stop_servers(self) -> None:
        """Stop the embedded servers in parallel."""
        for server in self.servers:
            server.process.terminate()
        for server in self.servers:
            server.stop(STOP_TIMEOUT)

    def kill(self) -> None:
        """Kill all processes."""
        for process in (*self.commands.values(), *(server.process for server in self.servers)):
            process.kill()

    def _record(self, name: str, process: Process) -> None:
        self._running.processes[name] = process.identity
        state_file.write(self.home, self._running)


def _brokers(home: Path, count: int) -> list[Kafka]:
    return cluster(home, [preferred_port("Kafka", KAFKA_PORT), *(free_port() for _ in range(count - 1))])


def _database(home: Path) -> Database:
    return Database(state_file.database_folder(home), preferred_port("the database", DATABASE_PORT))
