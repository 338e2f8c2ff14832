"""One look for all viewers: what the monitor knows, encoded once a second and handed to everybody who waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
from sse_starlette import ServerSentEvent

from orderflow.insights.monitor import LOOK, Monitor, Snapshot

_FIRST_LOOK = 0.1  # seconds between two looks while there is nothing to show yet
_LINGER = 10.0  # seconds that the monitor goes on without viewers: a page that is reloaded is back at once


class Feed:
    """Runs the monitor while somebody watches.

    A viewer holds no queue: it waits for the next look and takes the newest, so a slow one misses looks and nothing
    piles up.
    """

    def __init__(self, make_monitor: Callable[[], Monitor]) -> None:
        self._make_monitor = make_monitor
        self._monitor = make_monitor()
        self._viewers: Counter[str] = Counter()  # by window
        self._windows: set[str] = set()  # what the monitor reads
        self._looking: asyncio.Task[None] | None = None
        self._next = asyncio.Event()
        self._snapshot = ""
        self._histories: dict[str, tuple[object, str]] = {}  # window to history and its JSON

    async def events(self, window: str) -> AsyncIterator[ServerSentEvent]:
        """A snapshot a second, and this window's history whenever it was read anew."""
        seen: object = None
        with self._viewing(window):
            while True:
                await self._next.wait()
                yield ServerSentEvent(self._snapshot, event="snapshot")
                if (found := self._history(window)) and found[0] is not seen:
                    seen = found[0]
                    yield ServerSentEvent(found[1], event="history")

    async def look(self) -> Snapshot:
        """What is known now; where nobody watches, a look is taken, which a silent server makes 4 seconds long."""
        if self._looking:
            return self._monitor.snapshot()
        monitor = self._make_monitor()
        with monitor.watching():
            while "asking" in ((found := monitor.snapshot()).kafka.state, found.database.state):
                await asyncio.sleep(_FIRST_LOOK)
        return found

    @contextlib.contextmanager
    def _viewing(self, window: str) -> Iterator[None]:
        self._viewers[window] += 1
        self._windows.add(window)
        if self._looking is None:
            self._monitor = self._make_monitor()  # what an earlier one knew is old
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self._viewers[window] -= 1
            if not self._viewers[window]:
                self._windows.discard(window)

    async def _look(self) -> None:
        alone = 0.0
        try:
            with self._monitor.watching(self._windows):
                while alone < _LINGER:
                    snapshot = self._monitor.snapshot()
                    self._snapshot = msgspec.json.encode(snapshot).decode()
                    self._next.set()
                    self._next = asyncio.Event()
                    pause = LOOK if snapshot.read_at else _FIRST_LOOK
                    await asyncio.sleep(pause)
                    alone = 0.0 if self._viewers.total() else alone + pause
        finally:
            self._looking = None

    def _history(self, window: str) -> tuple[object, str] | None:
        found = self._monitor.history(window)
        if found is None:
            return None
        if window not in self._histories or self._histories[window][0] is not found:
            self._histories[window] = found, msgspec.json.encode(found).decode()
        return self._histories[window]
