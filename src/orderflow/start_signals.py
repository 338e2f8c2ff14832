"""Ends the process at once on SIGINT and SIGTERM while it imports, when it has done nothing yet.

An import that KeyboardInterrupt interrupts may raise another exception, or print a traceback. The first process of a
container ignores SIGTERM without a handler.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def exiting_on_signals() -> Iterator[None]:
    """Handle SIGINT and SIGTERM while the block runs, unless they are ignored."""
    former = {
        number: signal.signal(number, exit_at_once)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def exit_at_once(number: int, _frame: FrameType | None = None) -> None:
    """End the process by SIGTERM, or with exit code 130 for SIGINT. No `finally` is executed."""
    if number == signal.SIGTERM:  # for systemd, an end by SIGTERM is clean, and exit code 143 is not
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(128 + number)
