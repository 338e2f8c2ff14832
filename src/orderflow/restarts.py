"""Decides after a failure whether an engine or a query is started again, and when."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Hashable

from orderflow.errors import (
    Contention,
    DatabaseRefused,
    EngineFailed,
    Interrupted,
    LedgerGap,
    OrderFlowError,
    Unavailable,
    UnknownDatabaseError,
)

HEALTHY_RUN = 60.0  # seconds that a healthy run lasts at least
MAX_FAILED_STARTS = 8  # in a row
LONGEST_WAIT = 5.0  # seconds between two starts
_SHORTEST_WAIT = 0.2  # seconds
UNKNOWN_ERROR_TIMEOUT = 120.0  # seconds for which an unknown database error is retried


class Restarts:
    """The failures since the last progress. The wait for an unavailable server has no limit."""

    def __init__(
        self,
        name: str,
        *,
        unknown_error_timeout: float = UNKNOWN_ERROR_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is what is started, for messages. An unknown database error is retried for these seconds."""
        self._name = name
        self._unknown_error_timeout = unknown_error_timeout
        self._clock = clock
        self._failed_starts = 0
        self._wait = _SHORTEST_WAIT
        # By position: when the first of several unknown errors in a row was raised.
        self._unknown_error_since: dict[Hashable, float] = {}

    def register_run(
        self,
        error: Unavailable | Contention,
        *,
        was_healthy: bool,
        has_progressed: bool = False,
        positions: Collection[Hashable] = ("",),
    ) -> float:
        """Count a run that this error has ended. Return the seconds to wait before the next start.

        The wait grows with each run, up to 5 s, with some randomness. A healthy run or a run with progress begins a new
        count of failed starts. `positions` identifies each waiting partition and its position. An unknown error that
        repeats at one of them for 120 s becomes DatabaseRefused; a healthy run resets the timer.

        Raises EngineFailed if the engine has failed too often.
        Raises DatabaseRefused if an unknown database error does not pass.
        """
        if was_healthy or has_progressed:
            self._failed_starts, self._wait = 0, _SHORTEST_WAIT
        if was_healthy:  # progress alone may be that of another partition
            self._unknown_error_since = {}
        self._check_unknown_error(error, positions)
        self._failed_starts += isinstance(error, Interrupted | LedgerGap)
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise EngineFailed(
                f"{self._name} failed {self._failed_starts} times in a row without progress: {error.message}",
                hint=error.hint or "Nothing is lost. See the log above, and `orderflow doctor`.",
            ) from error
        wait = self._wait * random.uniform(0.5, 1)  # noqa: S311
        self._wait = min(self._wait * 1.5, LONGEST_WAIT)
        return wait

    def _check_unknown_error(self, error: Unavailable | Contention, positions: Collection[Hashable]) -> None:
        if isinstance(error, UnknownDatabaseError):
            now = self._clock()
            self._unknown_error_since = {key: self._unknown_error_since.get(key, now) for key in positions}
            if now - min(self._unknown_error_since.values(), default=now) > self._unknown_error_timeout:
                raise DatabaseRefused(error.message, hint=error.hint) from error
        else:  # the time of another outage does not count
            self._unknown_error_since = {}


def failure_message(error: OrderFlowError, next_step: str) -> str:
    """Return the log line for a failure: what failed, what happens next, and what a person can do."""
    return " ".join(filter(None, (error.message, next_step, error.hint)))
