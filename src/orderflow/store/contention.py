"""The retry of a transaction after a deadlock or a lock timeout."""

from __future__ import annotations

import random
from collections.abc import Iterator

ATTEMPTS = 20
_MAX_PAUSE = 2.0  # seconds


def pauses(attempts: int = ATTEMPTS) -> Iterator[float]:
    """Yield the seconds to wait after each attempt: at most 0.01 s, doubled each time up to 2 s, jittered."""
    for attempt in range(attempts):
        yield random.uniform(0, min(_MAX_PAUSE, 0.01 * 2**attempt))  # noqa: S311


def exhausted_message(subject: str, attempts: int = ATTEMPTS) -> str:
    """Return the message after the last attempt."""
    return f"{subject}: {attempts} transactions in a row met deadlocks or lock timeouts."
