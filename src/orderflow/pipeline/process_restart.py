"""Restarts the sink's process after its JVM has exited, and handles the signals that stop the sink."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from orderflow.errors import EngineFailed, JvmExited
from orderflow.restarts import LONGEST_WAIT, MAX_FAILED_STARTS
from orderflow.start_signals import exit_at_once

log = logging.getLogger(__name__)

_FAILED_STARTS_VARIABLE = "ORDERFLOW_FAILED_STARTS"  # passes the count and the position to the re-executed process
# Seconds that a requested stop may take. It is less than the limits of `orderflow up`, of compose.yaml and of systemd.
_STOP_TIMEOUT = 55.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def restart_process(
    exited: JvmExited, positions: Mapping[int, int], stop_event: threading.Event, *, has_failed: bool
) -> None:
    """Re-execute this command in this process, unless `stop_event` is set meanwhile.

    `positions` are the ledger's. `has_failed` is False if the run before was healthy.
    Raises EngineFailed if several restarts in a row stored nothing.
    """
    previous_count, previous_positions = os.environ.get(_FAILED_STARTS_VARIABLE, "0 ").split(" ", 1)
    current_positions = str(sorted(positions.items()))
    count = int(previous_count) + 1 if previous_positions == current_positions and has_failed else 1
    if count >= MAX_FAILED_STARTS:
        raise EngineFailed(
            f"Spark's JVM exited {count} times in a row at the same position: {exited.message}",
            hint="Nothing is lost. See Java's output above, and `orderflow doctor`.",
        ) from exited
    log.warning("%s Restarting it.", exited.message)
    stop_event.wait(min(count, LONGEST_WAIT))
    os.environ[_FAILED_STARTS_VARIABLE] = f"{count} {current_positions}"
    # From here on a signal stays pending until the new process can stop gracefully and unblocks it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    if not stop_event.is_set():
        _reexecute(stop_event)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)  # a second signal ends the process at once


def _reexecute(stop_event: threading.Event) -> None:
    sys.stdout.flush()
    # The MySQL client's sockets survive exec, so the session with the leadership lock would never end.
    for path in Path("/dev/fd").iterdir():
        if (descriptor := int(path.name)) > 2:
            with suppress(OSError):  # the descriptor that iterdir uses
                os.set_inheritable(descriptor, False)
    if not stop_event.is_set():  # another thread may have received the signal meanwhile
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606


@contextmanager
def stop_on_signals(request_stop: Callable[[], None], *, timeout: float = _STOP_TIMEOUT) -> Iterator[None]:
    """On the first SIGINT or SIGTERM, call `request_stop`. End the process on the second, or after `timeout` seconds.

    A server that hangs may hold a statement or a request for minutes.
    """
    timer: threading.Timer | None = None

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal timer
        if timer:
            exit_at_once(number)
        timer = threading.Timer(timeout, end, [number])
        timer.daemon = True
        with suppress(RuntimeError):  # the machine has no more threads: the stop has no limit then
            timer.start()
        request_stop()

    def end(number: int) -> None:
        message = f"The sink has not stopped within {timeout:.0f} seconds. It is ended; nothing is lost."
        warning = threading.Thread(target=log.warning, args=["%s", message], daemon=True)
        warning.start()
        warning.join(1)  # nobody may read the log
        for child in psutil.Process().children(recursive=True):  # a hanging JVM does not notice that its parent ends
            with suppress(psutil.NoSuchProcess):
                child.kill()
        os._exit(128 + number)

    before = {number: signal.signal(number, handle) for number in _STOP_SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        if timer:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
