"""When the next message is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from orderflow.produce.generator import Message

_SLICE = 0.002  # seconds of the shortest wait: below a millisecond, Kafka's client returns at once
_LATEST = 1.0  # seconds


def paced(messages: Iterator[Message], rate: float, wait: Callable[[float], bool]) -> Iterator[Message]:
    """`messages` at `rate` per second, each drawn when it is due. Ends when `wait`, given seconds, returns False.

    Due times count from the start, so that no delay adds up; only one of more than a second is written off, so
    that an outage is not followed by a burst.
    """
    start, count = time.monotonic(), 0
    while True:
        ahead = start + count / rate - time.monotonic()
        if ahead > 0 and not wait(max(ahead, _SLICE)):
            return
        if ahead < -_LATEST:
            start -= ahead
        if (message := next(messages, None)) is None:
            return
        yield message
        count += 1
