"""Ends a JVM that no longer answers: a call of Spark's gateway has no time limit of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

CALL_TIMEOUT = 60.0  # seconds that a short call may take, also on a machine that swaps


class JvmWatchdog:
    """Kills the JVM during a call that takes too long. The call then ends with JvmExited."""

    def __init__(
        self,
        kill_jvm: Callable[[], None],
        stop_event: threading.Event,
        *,
        check_interval: float = 1.0,
        stopping_timeout: float = 15.0,
    ) -> None:
        """`stop_event` is set when a stop is requested. From then on a call may take `stopping_timeout` seconds.

        The current call is checked every `check_interval` seconds.
        """
        self._kill_jvm = kill_jvm
        self._stop_event = stop_event
        self._check_interval = check_interval
        self._stopping_timeout = stopping_timeout
        # The start of the current call, its time limit, and its limit after a stop request.
        self._call: tuple[float, float, float] | None = None
        threading.Thread(target=self._watch, name="jvm-watchdog", daemon=True).start()

    @contextmanager
    def limit(self, seconds: float = CALL_TIMEOUT, *, is_stop: bool = False) -> Iterator[None]:
        """Limit the time of the calls in this block. Blocks are not nested.

        A stop request shortens the limit, unless `is_stop`: these calls are the stop.
        """
        self._call = time.monotonic(), seconds, seconds if is_stop else min(seconds, self._stopping_timeout)
        try:
            yield
        finally:
            self._call = None

    def _watch(self) -> None:
        while True:
            time.sleep(self._check_interval)
            if (call := self._call) is None:
                continue
            started_at, running_limit, stopping_limit = call
            limit = stopping_limit if self._stop_event.is_set() else running_limit
            if (seconds := time.monotonic() - started_at) > limit:
                self._call = None
                log.warning("Spark's JVM has not answered for %.0f seconds. It is ended.", seconds)
                self._kill_jvm()
