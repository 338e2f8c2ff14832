"""The retry of a transaction after a deadlock or a lock timeout."""

from __future__ import annotations

import random
import time

from orderflow.errors import Contention
from orderflow.plurals import counted

ATTEMPTS = 20
# Seconds. The writer gives up before the stall timeout (90 s + 50 s < 150 s), so the log names the lock. Real-Time Mode
# (15 s) and clusters (Spark repeats tasks) have other limits.
TIMEOUT = 90.0
_MAX_PAUSE = 2.0  # seconds


class ContentionRetries:
    """Counts the attempts of one transaction that met contention."""

    def __init__(self, max_attempts: int = ATTEMPTS, timeout: float = TIMEOUT) -> None:
        """Give up after `max_attempts` failed attempts, or at the first failure after `timeout` seconds."""
        self._max_attempts = max_attempts
        self._deadline = time.monotonic() + timeout
        self.failed_attempts = 0

    def pause_after(self, error: Contention, subject: str) -> float:
        """Return the seconds to wait before the next attempt: at most 0.01 s, doubled each time up to 2 s, jittered.

        Raises Contention with the last cause after the last attempt. `subject` names what cannot be stored.
        """
        self.failed_attempts += 1
        if self.failed_attempts >= self._max_attempts or time.monotonic() > self._deadline:
            attempts = counted(self.failed_attempts, "attempt")
            raise Contention(
                f"{subject}: {attempts} met deadlocks or lock timeouts. {error.message}",
                hint=error.hint,
            ) from error
        return random.uniform(0, min(_MAX_PAUSE, 0.005 * 2**self.failed_attempts))  # noqa: S311
