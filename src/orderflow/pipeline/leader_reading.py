"""Reads the topic while the leader's session is kept alive and a stop request is obeyed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures

from orderflow.errors import Interrupted
from orderflow.pipeline.engine import Returned, run_in_thread
from orderflow.store.connection import Connection

_POLL_INTERVAL = 0.1  # seconds between two checks whether the reading has ended


def read_as_leader(
    connection: Connection,
    stop_event: threading.Event,
    read: Callable[[], Returned],
    *,
    keep_alive_interval: float = 2.0,
) -> Returned:
    """Return what `read` returns. It must not use the connection, which executes a statement every
    `keep_alive_interval` seconds.

    A long range of aborted records takes minutes to read. Without statements, the server would end the session
    meanwhile, and with it the leadership.

    Raises Interrupted when `stop_event` is set; `read` then ends in its thread without effect. Raises what `read`
    raises, and the errors of the connection.
    """
    reading, kept_alive_at = run_in_thread("read-topic", read), time.monotonic()
    while not futures.wait([reading], _POLL_INTERVAL).done:
        if stop_event.is_set():
            raise Interrupted("A stop was requested while the topic was read.")
        if time.monotonic() - kept_alive_at > keep_alive_interval:
            connection.execute("select_now")
            connection.rollback()
            kept_alive_at = time.monotonic()
    return reading.result()
