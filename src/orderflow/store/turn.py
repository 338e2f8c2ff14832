"""The order among writers that work on the same partitions at once, each over its own connection."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

# The one before may want a key that this one has taken: then MySQL must see that this one waits, too.
_LONGEST_WAIT = 1.0  # seconds


class Turn:
    """A place in the line, to be entered by `with` until its run is committed.

    Whoever is first when it begins locks the ledger, then writes. The second one writes meanwhile, and only then asks
    for the ledger, which it gets when the first has committed. So two transactions at any time fill the table.
    """

    def __init__(self, before: Turn | None = None) -> None:
        self._ledger, self._over = threading.Event(), threading.Event()
        # Events, not the turn before: each would keep all that were before it alive.
        self._second_before = before._first_before if before else _happened()
        self._ledger_before = before._ledger if before else _happened()
        self._first_before: threading.Event = before._over if before else _happened()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._over.set()
        self._ledger.set()

    def await_second(self) -> bool:
        """Wait until this is the second in the line at least; gives back whether it is not the first."""
        self._second_before.wait()
        return not self._first_before.is_set()

    def await_ledger(self) -> None:
        """Wait until the one before holds the ledger, so that it gets it before this one."""
        self._ledger_before.wait(_LONGEST_WAIT)

    def holds_ledger(self) -> None:
        """Let the next one ask for it."""
        self._ledger.set()

    def await_first(self) -> None:
        """Wait until nobody is before this one."""
        self._first_before.wait()

    def await_end(self) -> None:
        """Wait until this one is over."""
        self._over.wait()


def _happened() -> threading.Event:
    event = threading.Event()
    event.set()
    return event
