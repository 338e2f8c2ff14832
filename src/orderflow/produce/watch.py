"""What is said about a delivery while it runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from orderflow.produce.delivery import DELIVERY_TIMEOUT, Delivery

log = logging.getLogger(__name__)

_SUMMARY_EVERY = 5.0  # seconds between two lines where not every message has its own
_SILENCE = 5.0  # seconds without an acknowledgement until that is said


class State(NamedTuple):
    """Messages acknowledged, failed, and neither; `rate` is the acknowledged ones per second since the last look.

    `waiting`: Kafka has acknowledged nothing for long.
    """

    sent: int
    failed: int
    in_flight: int
    rate: float
    waiting: bool = False


class Watch:
    """Called once a second. Logs failures, a silent broker, and progress; hands each state to `tell`."""

    def __init__(self, tell: Callable[[State], None]) -> None:
        self._tell = tell
        self._last = State(0, 0, 0, 0.0)
        self._looked = self._answered = self._summed_up = time.monotonic()
        self._silent = False

    def __call__(self, delivery: Delivery) -> None:
        now = time.monotonic()
        sent = delivery.sent
        rate = (sent - self._last.sent) / max(now - self._looked, 0.001)
        state = State(sent, delivery.failed, delivery.in_flight, round(rate, 1))
        if new := state.failed - self._last.failed:
            log.error("%d not delivered, the last one %s", new, delivery.last_failure)
        self._watch_silence(state, now)
        if not delivery.log_each and now - self._summed_up >= _SUMMARY_EVERY:
            self._summed_up = now
            log.info("Sent %d, now %.0f per second; %d in flight", state.sent, rate, state.in_flight)
        self._last, self._looked = state, now
        self._tell(state._replace(waiting=self._silent))

    def _watch_silence(self, state: State, now: float) -> None:
        if state.sent > self._last.sent or not state.in_flight:
            if self._silent:
                log.info("Kafka answers again")
            self._answered, self._silent = now, False
        elif now - self._answered >= _SILENCE and not self._silent:
            self._silent = True
            log.warning(
                "Kafka has acknowledged nothing for %.0f s: %d messages wait for it, each for %.0f s at most",
                now - self._answered,
                state.in_flight,
                DELIVERY_TIMEOUT,
            )
