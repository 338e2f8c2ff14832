"""Limits the rate of an iterator of messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from orderflow.produce.outgoing_message import OutgoingMessage

_MIN_WAIT = 0.002  # seconds; below 1 ms, the Kafka client returns at once
_MAX_DELAY = 1.0  # seconds


def paced(messages: Iterator[OutgoingMessage], rate: float, wait: Callable[[float], bool]) -> Iterator[OutgoingMessage]:
    """Iterate over `messages` at `rate` per second, and end when `wait` (called with seconds) returns False.

    Each message is taken from `messages` when it is due. Due times count from the start, so that delays do not add up.
    A delay of more than _MAX_DELAY is not made up for, so that no burst follows an outage.
    """
    start, count = time.monotonic(), 0
    while True:
        ahead = start + count / rate - time.monotonic()
        if ahead > 0 and not wait(max(ahead, _MIN_WAIT)):
            return
        if ahead < -_MAX_DELAY:
            start -= ahead
        if (message := next(messages, None)) is None:
            return
        yield message
        count += 1
