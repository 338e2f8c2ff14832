"""Keeps the leader's session alive while this process does not use it, and reads the topic meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from orderflow.pipeline.engine import Returned, run_in_thread, wait_unless_stopped
from orderflow.store.connection import Connection


class SessionKeepAlive:
    """Executes a statement every few seconds in a thread, until the block ends. The block must not use the connection.

    Without statements, the server would end the session, and with it the leadership.
    """

    def __init__(self, connection: Connection, *, interval: float = 2.0) -> None:
        """`interval` is the number of seconds between two statements."""
        self._connection = connection
        self._interval = interval
        self._has_ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="keep-alive", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._has_ended.set()
        self._thread.join()

    def check(self) -> None:
        """Check that the session is not lost. Raises the error of the last statement, if there is one."""
        if self._error:
            raise self._error

    def _run(self) -> None:
        while not self._has_ended.wait(self._interval):
            try:
                self._connection.execute("select_now")
                self._connection.rollback()
            except BaseException as error:  # noqa: BLE001 - raised again by `check`
                self._error = error
                return


def read_as_leader(
    connection: Connection,
    stop_event: threading.Event,
    read: Callable[[], Returned],
    *,
    keep_alive_interval: float = 2.0,
) -> Returned:
    """Return what `read` returns. It must not use the connection. A long range of aborted records takes minutes.

    Raises StopRequested when `stop_event` is set; the result of `read` is then discarded. Raises what `read`
    raises, and the errors of the connection, which executes a statement every `keep_alive_interval` seconds.
    """
    with SessionKeepAlive(connection, interval=keep_alive_interval) as session:
        reading = run_in_thread("read-topic", read)
        wait_unless_stopped(reading, stop_event, "the topic was read", check=session.check)
    return reading.result()
