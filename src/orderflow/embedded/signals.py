"""Signal handling of processes that start servers, and of their child processes."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_STOP_TIMEOUT = 200.0  # seconds that a command has to stop its servers in order


def interrupt_on_signals() -> None:
    """Make SIGTERM, and SIGHUP unless it is ignored (nohup), raise KeyboardInterrupt.

    By default they end this process immediately, and its servers keep running.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


@contextmanager
def default_in_children() -> Iterator[None]:
    """Make processes that are started in the block not inherit ignored signals.

    Background jobs of a shell ignore SIGINT, and nohup ignores SIGHUP. Ignored signals stay ignored across exec;
    handled ones do not. Only the main thread can change handlers; in other threads this does nothing.
    """
    ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        ignored = []
    for number in ignored:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def run(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> int:
    """Run a command that starts servers and return its exit code. On an interrupt, wait until it has stopped them."""
    child = subprocess.Popen(argv, env=env, cwd=cwd)
    try:
        return child.wait()
    finally:
        child.terminate()  # no effect if it has ended
        with suppress(subprocess.TimeoutExpired):
            child.wait(_STOP_TIMEOUT)
