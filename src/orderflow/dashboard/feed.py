"""Sends the monitor's snapshot to all viewers: encoded once a second, independently of their number."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
from sse_starlette import ServerSentEvent

from orderflow.insights.monitor import POLL_INTERVAL, Monitor, Snapshot

_FIRST_POLL_INTERVAL = 0.1  # seconds between two polls until the first values are read
_LINGER = 10.0  # seconds that the monitor runs without viewers, so that a reloaded page has values immediately


class Feed:
    """Runs the monitor while there are viewers.

    A viewer has no queue: it waits for the next snapshot and sends the newest one. So a slow viewer misses snapshots,
    and no data accumulates for it.
    """

    def __init__(self, make_monitor: Callable[[], Monitor]) -> None:
        self._make_monitor = make_monitor
        self._monitor = make_monitor()
        self._viewers: Counter[str] = Counter()  # viewers by window
        self._windows: set[str] = set()  # the windows whose histories the monitor reads
        self._task: asyncio.Task[None] | None = None
        self._next = asyncio.Event()
        self._snapshot = ""
        self._histories: dict[str, tuple[object, str]] = {}  # window to history and its JSON

    async def events(self, window: str) -> AsyncIterator[ServerSentEvent]:
        """Iterate over the events: a snapshot each second, and this window's history whenever it has changed."""
        sent: object = None
        with self._count_viewer(window):
            while True:
                await self._next.wait()
                yield ServerSentEvent(self._snapshot, event="snapshot")
                if (history := self._history(window)) and history[0] is not sent:
                    sent = history[0]
                    yield ServerSentEvent(history[1], event="history")

    async def take_snapshot(self) -> Snapshot:
        """The current values. Without viewers they are read first; this takes 4 seconds if a server does not answer."""
        if self._task:
            return self._monitor.snapshot()
        monitor = self._make_monitor()
        with monitor.watching():
            while "unknown" in ((snapshot := monitor.snapshot()).kafka.state, snapshot.database.state):
                await asyncio.sleep(_FIRST_POLL_INTERVAL)
        return snapshot

    @contextlib.contextmanager
    def _count_viewer(self, window: str) -> Iterator[None]:
        self._viewers[window] += 1
        self._windows.add(window)
        if self._task is None:
            self._monitor = self._make_monitor()  # the values of an earlier monitor are outdated
            self._task = asyncio.create_task(self._send_snapshots())
        try:
            yield
        finally:
            self._viewers[window] -= 1
            if not self._viewers[window]:
                self._windows.discard(window)

    async def _send_snapshots(self) -> None:
        unwatched = 0.0  # seconds without viewers
        try:
            with self._monitor.watching(self._windows):
                while unwatched < _LINGER:
                    snapshot = self._monitor.snapshot()
                    self._snapshot = msgspec.json.encode(snapshot).decode()
                    self._next.set()
                    self._next = asyncio.Event()
                    pause = POLL_INTERVAL if snapshot.read_at else _FIRST_POLL_INTERVAL
                    await asyncio.sleep(pause)
                    unwatched = 0.0 if self._viewers.total() else unwatched + pause
        finally:
            self._task = None

    def _history(self, window: str) -> tuple[object, str] | None:
        history = self._monitor.history(window)
        if history is None:
            return None
        if window not in self._histories or self._histories[window][0] is not history:
            self._histories[window] = history, msgspec.json.encode(history).decode()
        return self._histories[window]
