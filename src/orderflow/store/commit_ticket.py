"""The commit order of writers that work on the same partitions at the same time, each over its own connection."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

# If the predecessor waits for a key that this transaction holds, this transaction must wait in MySQL as well. Only then
# does the server detect the deadlock. So this wait ends after 1 s.
_MAX_LOCK_WAIT = 1.0  # seconds


class CommitTicket:
    """A batch's position in the commit order. Hold it with `with` until the batch's transaction has ended.

    At most two transactions are open at a time. The first one commits in order. The second one writes its orders
    speculatively, and requests the ledger's row locks only after the first one.

        queued ──► second ──► ledger locked ──► ended
                     │              ▲
                     └──► first ────┘

    | state         | entered when                                 | the batch may                        |
    |---------------|----------------------------------------------|--------------------------------------|
    | queued        | the ticket is created                        | be checked against the contract      |
    | second        | at most one earlier transaction is open      | write its orders                     |
    | first         | its predecessor has ended                    | lock the ledger, then write          |
    | ledger locked | `mark_ledger_locked`                         | commit; its successor requests locks |
    | ended         | the `with` block ends, also by an error      |                                      |
    """

    def __init__(self, predecessor: CommitTicket | None = None) -> None:
        self._ledger_locked, self._ended = threading.Event(), threading.Event()
        # Hold the events, not the predecessor: a reference to it would keep all earlier tickets alive.
        self._may_start = predecessor._predecessor_ended if predecessor else _set_event()
        self._predecessor_locked = predecessor._ledger_locked if predecessor else _set_event()
        self._predecessor_ended: threading.Event = predecessor._ended if predecessor else _set_event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._ended.set()
        self._ledger_locked.set()

    def wait_until_may_write(self) -> bool:
        """Wait until at most one earlier transaction is open. Return whether one is."""
        self._may_start.wait()
        return not self._predecessor_ended.is_set()

    def wait_for_predecessor_lock(self) -> None:
        """Wait up to 1 second until the predecessor has locked the ledger."""
        self._predecessor_locked.wait(_MAX_LOCK_WAIT)

    def mark_ledger_locked(self) -> None:
        """Let the successor request the ledger's row locks. It gets them when this transaction has ended."""
        self._ledger_locked.set()

    def wait_for_predecessor_end(self) -> None:
        """Wait until this ticket is first."""
        self._predecessor_ended.wait()

    def wait_for_end(self) -> None:
        """Wait until this ticket has ended."""
        self._ended.wait()


def _set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event
