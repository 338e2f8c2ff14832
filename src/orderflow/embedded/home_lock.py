"""Lets one `orderflow up` at a time use ORDERFLOW_HOME, and stops it or the processes that a killed one has left."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orderflow.embedded.process import STOP_TIMEOUT, stop_leftover
from orderflow.errors import AlreadyRunning
from orderflow.running_servers import state_file
from orderflow.running_servers.process_identity import is_running
from orderflow.settings import Settings

log = logging.getLogger(__name__)

_POLL_INTERVAL = 0.1  # seconds between two checks whether `up` still runs


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
            running = state_file.read(home)
            raise AlreadyRunning(
                f"`orderflow up` is already running in {home}{f', as process {running.up.pid}' if running else ''}.",
                hint="`orderflow status` shows it and `orderflow down` stops it. For a second one, set ORDERFLOW_HOME.",
            ) from None
        _stop_leftovers(home)
        try:
            yield
        finally:
            state_file.remove(home)


def stop_up(settings: Settings, *, timeout: float = 3 * STOP_TIMEOUT) -> bool:  # producer, sink, servers
    """Stop the `up` of this folder, or the processes that a killed one left. Returns False if nothing was running.

    Raises AlreadyRunning if `up` is still running after `timeout` seconds, or belongs to another user.
    """
    running = state_file.read(settings.home)
    if running is None:
        return False
    if not is_running(running.up):
        return _stop_leftovers(settings.home)
    pid = running.up.pid
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
    while is_running(running.up):
        if time.monotonic() > deadline:
            raise AlreadyRunning(
                f"The `orderflow up` of {settings.home} (process {pid}) still runs {timeout:.0f} s after the stop"
                " was requested.",
                hint=f"See its output. `kill -9 {pid}` ends it; then `orderflow down` stops its remaining processes.",
            )
        time.sleep(_POLL_INTERVAL)
    return True


def _stop_leftovers(home: Path) -> bool:
    running = state_file.read(home)
    if running is None:
        return False
    # In reverse order of start: commands before the servers that they use.
    stopped = [
        name for name, identity in reversed(running.processes.items()) if stop_leftover(identity, timeout=STOP_TIMEOUT)
    ]
    if stopped:
        log.warning("Stopped processes of an earlier run: %s.", ", ".join(stopped))
    state_file.remove(home)
    return bool(stopped)
