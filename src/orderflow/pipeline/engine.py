"""The interface between the supervisor and an engine. An engine stores the topic's records from given offsets on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from orderflow.errors import BatchDamaged, StopRequested
from orderflow.store.connection import ANSWER_TIMEOUT
from orderflow.telemetry.query_progress import QueryProgress
from orderflow.topic import TopicInfo

Returned = TypeVar("Returned")

STALL_TIMEOUT = ANSWER_TIMEOUT + 30.0  # seconds: longer than the timeout of a MySQL statement
# Seconds between two attempts to read a damaged batch. Another replica may become leader, or the batch may be restored.
DAMAGE_RETRY_INTERVAL = 30.0
_POLL_INTERVAL = 0.1  # seconds between two checks whether a stop is requested


class DamagedPartition(NamedTuple):
    """A partition with a damaged batch, which the engine no longer reads.

    `offset` is the first offset that cannot be read. `error` names the batch.
    """

    offset: int
    error: BatchDamaged


class Engine(Protocol):
    """Stores records. An engine keeps no position: each start begins at the ledger's positions."""

    def open(self, scratch: Path, stop_event: threading.Event) -> None:
        """Begin to start up, and return without waiting. `scratch` is a folder for files that no later run needs.

        `stop_event` is set when a stop is requested. A `start` that takes long then raises StopRequested.
        """

    def start(
        self, topic_info: TopicInfo, positions: Mapping[int, int], end_offsets: Mapping[int, int], *, once: bool
    ) -> None:
        """Store the records from `positions`, the ledger's positions; with `once`, only those before `end_offsets`.

        `end_offsets` are the topic's current ends by partition. Raises JvmExited if this process must be restarted.
        """

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for the end. Return whether the engine has ended.

        Raises the error that made it fail.
        """

    def damaged_partitions(self) -> Mapping[int, DamagedPartition]:
        """Return the partitions that the engine does not read now, because of a damaged batch."""

    def activity(self) -> str:
        """Return a description of the current activity, for messages."""

    def stall_timeout(self) -> float:
        """Return the seconds without progress, while records wait, after which the supervisor restarts the engine."""

    def mark_stalled(self) -> None:
        """Record that the engine hangs. The supervisor restarts it next."""

    def update_trigger(self, lag: int) -> bool:
        """Choose the trigger for a lag of this many records. Return whether the engine must restart."""

    def progress(self) -> QueryProgress | None:
        """Return the last micro-batch that Spark reported; None without one."""

    def drain(self, seconds: float) -> None:
        """Wait up to `seconds` until the transactions in progress are committed."""

    def stop(self) -> None:
        """Stop storing. Transactions in progress are rolled back."""

    def close(self) -> None:
        """Release everything that the engine holds."""


def run_in_thread(name: str, work: Callable[[], Returned]) -> Future[Returned]:
    """Run `work` in a daemon thread: the process can exit without waiting for it."""
    future: Future[Returned] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again by Future.result
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def wait_unless_stopped(
    future: Future[Any], stop_event: threading.Event, activity: str, *, check: Callable[[], None] = lambda: None
) -> None:
    """Wait for the future. `check` is called repeatedly meanwhile.

    Raises StopRequested when `stop_event` is set; `activity` completes its message. Raises what `check` raises.
    """
    while not futures.wait([future], _POLL_INTERVAL).done:
        if stop_event.is_set():
            raise StopRequested(f"A stop was requested while {activity}.")
        check()
