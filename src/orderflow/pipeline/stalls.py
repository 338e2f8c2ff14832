"""Detects that the ledger's positions do not move although the topic has later offsets."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from orderflow.positions.ledger_status import PartitionStatus


class _Waiting(NamedTuple):
    """A partition's position and end when its timer started. Later records do not count."""

    position: int
    end: int
    since: float  # time of the start


class StallDetector:
    """Measures how long each partition has waited at its position, and how long all of them have."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._clock = clock
        self._waiting: dict[int, _Waiting] = {}  # by partition
        self._moved_at = 0.0  # time of the last move of any position
        self._checked_at = 0.0  # time of the last call of `update_and_find_overdue`
        self._limit = 0.0  # seconds without a move that make a stall
        self._stalls = 0  # stalls in a row at these positions

    def start(self, positions: Mapping[int, int], end_offsets: Mapping[int, int]) -> None:
        """Start the timers: the engine has started at these positions, with these ends of the partitions."""
        self._moved_at = now = self._clock()
        self._waiting = {partition: _Waiting(positions[partition], end, now) for partition, end in end_offsets.items()}

    def update_and_find_overdue(self, partitions: Collection[PartitionStatus], timeout: float) -> dict[int, int]:
        """Update the timers. Map each partition that has waited for more than `timeout` seconds to its end.

        The timeout doubles with each stall, because a long range of aborted records may take longer to read.
        """
        self._checked_at = now = self._clock()
        for current in partitions:
            waiting = self._waiting.get(current.partition)
            if waiting and current.next_offset != waiting.position:
                self._waiting[current.partition] = _Waiting(current.next_offset, current.end or 0, now)
                self._moved_at, self._stalls = now, 0
            elif waiting and waiting.end <= waiting.position < (current.end or 0):  # the first record since then
                self._waiting[current.partition] = _Waiting(current.next_offset, current.end or 0, now)
        self._limit = timeout * 2**self._stalls
        return {
            partition: waiting.end for partition, waiting in self._waiting.items() if now - waiting.since > self._limit
        }

    def register_stall(self) -> float:
        """Count a stall if no partition had moved for the timeout at the last check.

        Return the seconds without progress; 0 if this is no stall.
        """
        seconds = self._checked_at - self._moved_at
        if seconds <= self._limit:
            return 0
        self._stalls += 1
        return seconds

    def wait_again(self, partitions: Collection[PartitionStatus], overdue: Collection[int]) -> None:
        """Restart the timers of these partitions at their current positions and ends."""
        for current in partitions:
            if current.partition in overdue:
                self._waiting[current.partition] = _Waiting(current.next_offset, current.end or 0, self._checked_at)
