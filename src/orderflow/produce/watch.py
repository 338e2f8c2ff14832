"""Logs and reports the progress of a producer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from orderflow.plurals import counted
from orderflow.produce.delivery import DELIVERY_TIMEOUT, OrderProducer

log = logging.getLogger(__name__)

_SUMMARY_INTERVAL = 5.0  # seconds between two summary lines if not every message is logged
_WAITING_AFTER = 5.0  # seconds without an acknowledgement until a warning is logged


class ProducerProgress(NamedTuple):
    """The messages acknowledged, failed and in flight.

    `rate` is the number of acknowledged messages per second since the last call. `waiting` is true if Kafka has
    acknowledged nothing for _WAITING_AFTER.
    """

    sent: int
    failed: int
    in_flight: int
    rate: float
    waiting: bool = False


class DeliveryWatch:
    """Called once a second: logs failures, missing acknowledgements and progress, and calls `on_progress`."""

    def __init__(self, on_progress: Callable[[ProducerProgress], None]) -> None:
        self._on_progress = on_progress
        self._last = ProducerProgress(0, 0, 0, 0.0)
        self._updated_at = self._acknowledged_at = self._summary_at = time.monotonic()
        self._is_waiting = False

    def __call__(self, producer: OrderProducer) -> None:
        now = time.monotonic()
        sent = producer.sent
        rate = (sent - self._last.sent) / max(now - self._updated_at, 0.001)
        progress = ProducerProgress(sent, producer.failed, producer.in_flight, round(rate, 1))
        if new := progress.failed - self._last.failed:
            log.error("Not delivered: %s; the last one: %s", counted(new, "message"), producer.last_failure)
        self._check_acknowledgements(progress, now)
        if not producer.log_each and now - self._summary_at >= _SUMMARY_INTERVAL:
            self._summary_at = now
            sent_messages = counted(sent, "message")
            log.info("Sent %s, now %.0f per second; %d in flight", sent_messages, rate, progress.in_flight)
        self._last, self._updated_at = progress, now
        self._on_progress(progress._replace(waiting=self._is_waiting))

    def _check_acknowledgements(self, progress: ProducerProgress, now: float) -> None:
        if progress.sent > self._last.sent or not progress.in_flight:
            if self._is_waiting:
                log.info("Kafka acknowledges again")
            self._acknowledged_at, self._is_waiting = now, False
        elif now - self._acknowledged_at >= _WAITING_AFTER and not self._is_waiting:
            self._is_waiting = True
            log.warning(
                "Kafka has acknowledged nothing for %.0f s; %s in flight, each message fails %.0f s after it was sent",
                now - self._acknowledged_at,
                counted(progress.in_flight, "message"),
                DELIVERY_TIMEOUT,
            )
