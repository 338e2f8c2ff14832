"""A server process: started in its own session, watched until it answers, stopped without leftovers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from orderflow.errors import StartFailed

_POLL = 0.05  # seconds between two questions to a server that is starting


class Process:
    """A process in its own session: Ctrl-C reaches `orderflow up` alone, which stops its servers in order."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """`name` is for messages. `log` is appended to. `env` replaces the whole environment, None keeps it."""
        self.name, self.log = name, log
        self._argv, self._env, self._cwd = list(argv), env, cwd
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start it and return at once. Raises StartFailed if the system cannot run it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            try:
                self._child = subprocess.Popen(
                    self._argv,
                    env=self._env,
                    cwd=self._cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise StartFailed(
                    f"{self.name} cannot be run: {error}.", hint=f"The command was {self._argv[0]}."
                ) from error

    @property
    def identity(self) -> tuple[int, float]:
        """(pid, creation time in seconds since the epoch): what a later process needs for `stop_leftover`."""
        child = self._started()
        return child.pid, psutil.Process(child.pid).create_time()

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or before it was started; negative where a signal ended it."""
        return self._child.poll() if self._child is not None else None

    def wait_ready(self, probe: Callable[[], bool], timeout: float) -> None:
        """Wait until `probe`, which asks the process itself, says True.

        Raises StartFailed, with the log's last lines, if the process ends before or `timeout` seconds pass;
        nothing is left running then.
        """
        child, deadline = self._started(), time.monotonic() + timeout
        while True:
            ready = probe()
            if not self.alive:  # asked second: it may have been another server that answered
                self.kill()
                raise self.failure(f"{self.name} did not start: it ended with exit code {child.returncode}.")
            if ready:
                return
            if time.monotonic() > deadline:
                self.kill()
                raise self.failure(f"{self.name} did not answer within {timeout:g} s.")
            time.sleep(_POLL)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        if self._child is not None and self.alive:
            self._child.terminate()

    def stop(self, timeout: float) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds. Nothing to do if it never ran or has ended."""
        self.terminate()
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to it and to whatever it started."""
        if self._child is not None:
            _kill_group(self._child.pid)
            self._child.wait()

    def last_lines(self, count: int = 20) -> list[str]:
        """The last lines of its log since `start`."""
        with self.log.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - 64 * 1024))
            return log.read().decode(errors="replace").splitlines()[-count:]

    def _started(self) -> subprocess.Popen[bytes]:
        assert self._child is not None, f"{self.name} was not started"
        return self._child

    def failure(self, sentence: str) -> StartFailed:
        """The error that says `sentence`, with the log's last lines."""
        lines = "".join(f"\n  {line}" for line in self.last_lines())
        return StartFailed(
            f"{sentence} Its last lines:{lines}" if lines else f"{sentence} It wrote nothing to its log.",
            hint=f"The whole log is {self.log}.",
        )


class LocalServer(ABC):
    """A server on 127.0.0.1:`port` whose data and log lie in `folder`, and survive restart and SIGKILL.

    `start` returns at once, so that several start side by side; `wait_ready` waits.
    """

    name: str

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder.resolve(), port
        self.process = Process(
            self.name,
            ["/bin/sh", "server.sh"],
            log=self.folder / f"{self.name.lower()}.log",
            cwd=self.folder,
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @abstractmethod
    def describe(self) -> str:
        """Product and version, for a person."""

    def start(self) -> None:
        """Raises StartFailed if the port is taken, or what it runs cannot be had."""
        if free_port(self.port) != self.port:  # the server would say so late, and in its log alone
            raise StartFailed(
                f"{self.name} cannot listen on {self.address}: another process does.",
                hint="Stop that process or choose another port.",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.sh").write_text(self._script())
        self.process.start()

    def wait_ready(self, timeout: float = 120) -> None:
        """Raises StartFailed if the server ended, or does not serve clients within `timeout` seconds."""
        self.process.wait_ready(self._probe(), timeout)

    def stop(self, timeout: float = 60) -> None:
        """Stop it in order; after `timeout` seconds kill it."""
        self.process.stop(timeout)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.process.kill()

    @abstractmethod
    def _script(self) -> str:
        """A shell script that prepares the data folder if need be, then becomes the server by `exec`."""

    @abstractmethod
    def _probe(self) -> Callable[[], bool]:
        """A function that asks whether this very server serves clients."""


def is_running(pid: int, created: float) -> bool:
    """Whether the process of that `Process.identity` still runs; another one with its pid does not count."""
    return _find(pid, created) is not None


def stop_leftover(pid: int, created: float, timeout: float) -> bool:
    """Stop a `Process` that an earlier `orderflow up` left behind. False if it is gone already."""
    process = _find(pid, created)
    if process is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        process.terminate()
        process.wait(timeout)
    _kill_group(pid)
    return True


def free_port(wanted: int = 0) -> int:
    """`wanted` if nothing listens there on loopback, else (and for 0) a port of the system's choice."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
        except OSError:
            listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _find(pid: int, created: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        # The kernel counts from boot: setting the clock moves the sum by a little.
        same = abs(process.create_time() - created) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
