"""The choice between Spark's triggers: micro-batches or Real-Time Mode."""

from __future__ import annotations

import time
from collections.abc import Callable

REALTIME_LAG = 2_000  # records: Real-Time Mode may start with this lag or less
MICRO_BATCH_LAG = 40_000  # records, two transactions: above this lag a micro-batch costs a tenth as much per record
SHORTEST_PAUSE, LONGEST_PAUSE = 10.0, 600.0  # seconds of micro-batches before Real-Time Mode starts again


class TriggerMode:
    """The state machine behind SINK_TRIGGER.

        micro-batch, "2 seconds"    always micro-batches
        realtime                    Real-Time Mode; after a failure, micro-batches until they have caught up
        auto                        the same, and micro-batches while the lag is large

    After each early end of Real-Time Mode, its next pause is twice as long.
    """

    def __init__(self, trigger: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._trigger, self._clock = trigger, clock
        self._pause, self._paused_until, self._since = SHORTEST_PAUSE, clock(), clock()
        self._is_realtime = self._has_failed = False

    def wants_realtime(self, lag: int) -> bool:
        """Whether a query that starts now, with a lag of this many records, should use Real-Time Mode."""
        if self._trigger not in ("realtime", "auto") or self._clock() < self._paused_until:
            return False
        return lag <= REALTIME_LAG or (self._trigger == "realtime" and not self._has_failed)

    def mark_started(self, *, realtime: bool) -> None:
        """Record that a query starts."""
        self._is_realtime, self._since = realtime, self._clock()
        self._has_failed = self._has_failed and not realtime

    def mark_failed(self) -> None:
        """Record that the query has failed or hangs."""
        if self._is_realtime:
            self._has_failed = True
            self._pause_realtime()

    def mark_unsupported(self) -> None:
        """Record that the platform does not support Real-Time Mode now."""
        self._paused_until = self._clock() + LONGEST_PAUSE

    def update_trigger(self, lag: int) -> bool:
        """Choose the trigger for a lag of this many records. Return whether the engine must restart to use it."""
        if self._is_realtime and self._trigger == "auto" and lag > MICRO_BATCH_LAG:
            self._pause_realtime()
            return True
        return not self._is_realtime and self.wants_realtime(lag)

    def _pause_realtime(self) -> None:
        is_early = self._clock() - self._since < 6 * self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if is_early else SHORTEST_PAUSE
        self._paused_until = self._clock() + self._pause
