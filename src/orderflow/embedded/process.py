"""Server processes: start in their own session, wait until ready, stop including all child processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from orderflow.embedded.ports import is_free
from orderflow.embedded.signals import default_in_children
from orderflow.errors import AlreadyRunning, StartFailed
from orderflow.running_servers.process_identity import ProcessIdentity, find, identity_of

STOP_TIMEOUT = 60.0  # seconds that a process has to stop gracefully
_POLL_INTERVAL = 0.05  # seconds between two probes of a starting server
# In other locales, Java cannot open files with non-ASCII names, and servers translate their logs.
_UTF8 = "export LC_ALL=C.UTF-8\n"


class Process:
    """A process in its own session, so that Ctrl-C reaches only `orderflow up`, which stops its servers in order."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """`name` is for messages. Output is appended to `log`. `env` replaces the whole environment; None keeps it."""
        self.name, self.log = name, log
        self._argv, self._env, self._cwd = list(argv), env, cwd
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start the process without waiting. Raises StartFailed if the system cannot run it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            try:
                with default_in_children():
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
    def identity(self) -> ProcessIdentity:
        """The argument of `stop_leftover` in a later process."""
        return identity_of(self._require_child().pid)

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while the process runs or before it starts; negative if a signal ended it."""
        return self._child.poll() if self._child is not None else None

    def wait_ready(self, probe: Callable[[], bool], timeout: float) -> None:
        """Wait until `probe`, which checks the process, returns True.

        Raises StartFailed, with the last lines of the log, if the process ends or `timeout` seconds pass. Then the
        process is killed.
        """
        child, deadline = self._require_child(), time.monotonic() + timeout
        while True:
            ready = probe()
            if not self.alive:  # checked after the probe, which another server may have answered
                self.kill()
                raise self.failure(f"{self.name} did not start: it ended with exit code {child.returncode}.")
            if ready:
                return
            if time.monotonic() > deadline:
                self.kill()
                raise self.failure(f"{self.name} did not answer within {timeout:g} s.")
            time.sleep(_POLL_INTERVAL)

    def terminate(self) -> None:
        """Send SIGTERM without waiting."""
        if self._child is not None and self.alive:
            self._child.terminate()

    def stop(self, timeout: float) -> None:
        """Send SIGTERM, then SIGKILL after `timeout` seconds. Does nothing if the process does not run."""
        self.terminate()
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the process and its children."""
        if self._child is not None:
            _kill_group(self._child.pid)
            self._child.wait()

    def last_lines(self, count: int = 20) -> list[str]:
        """The last lines of the log since `start`."""
        with self.log.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - 64 * 1024))
            return log.read().decode(errors="replace").splitlines()[-count:]

    def _require_child(self) -> subprocess.Popen[bytes]:
        assert self._child is not None, f"{self.name} was not started"
        return self._child

    def failure(self, sentence: str) -> StartFailed:
        """An error with this sentence and the last lines of the log."""
        lines = "".join(f"\n  {line}" for line in self.last_lines())
        return StartFailed(
            f"{sentence} Its last lines:{lines}" if lines else f"{sentence} It wrote nothing to its log.",
            hint=f"The whole log is {self.log}.",
        )


class LocalServer(ABC):
    """A server on 127.0.0.1:`port`. Its data and log are in `folder` and survive restart and SIGKILL.

    `start` does not wait, so that several servers can start in parallel; `wait_ready` waits.
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
        """Product and version, for display."""

    def start(self) -> None:
        """Start the server. Raises StartFailed if the port is in use or its program is not available."""
        if not is_free(self.port):  # the server would report it later, and only in its log
            raise StartFailed(
                f"{self.name} cannot listen on {self.address}: the port is in use.",
                hint="Stop the process that uses it, or choose another port.",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.sh").write_bytes(os.fsencode(_UTF8 + self._script()))
        self.process.start()

    def wait_ready(self, timeout: float = 120) -> None:
        """Wait until the server serves clients. Raises StartFailed if it ends or does not within `timeout` seconds."""
        self.process.wait_ready(self._probe(), timeout)

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop the server gracefully; after `timeout` seconds, kill it."""
        self.process.stop(timeout)

    def kill(self) -> None:
        """Send SIGKILL, to simulate a power failure."""
        self.process.kill()

    @abstractmethod
    def _script(self) -> str:
        """A shell script that creates the data folder if it is missing and replaces itself with the server (`exec`)."""

    @abstractmethod
    def _probe(self) -> Callable[[], bool]:
        """Return a function that checks whether this server, and not another one on the port, serves clients."""


def stop_leftover(identity: ProcessIdentity, timeout: float) -> bool:
    """Stop a `Process` that an earlier `orderflow up` has left. Returns False if it does not run any more.

    Raises AlreadyRunning if it belongs to another user.
    """
    process = find(identity)
    if process is None:
        return False
    try:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            process.terminate()
            process.wait(timeout)
        _kill_group(identity.pid)
    except (psutil.AccessDenied, PermissionError) as error:
        raise AlreadyRunning(
            f"Process {identity.pid} of an earlier `orderflow up` belongs to another user.",
            hint="Stop it as that user.",
        ) from error
    return True


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
