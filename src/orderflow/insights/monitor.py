"""The live view: one look at database and topic at a bounded rate, shared by everybody who watches.

The database is read by one thread over one read-only connection, at most once a second and for at most a fifth of
the time; Kafka is asked by another, so that neither's silence hides the other. Whoever watches takes `snapshot`, which
never waits. Nothing runs while nobody watches.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

import msgspec

from orderflow.errors import DatabaseRefused, OrderFlowError
from orderflow.insights import latency, sales, status
from orderflow.insights.latency import Latency
from orderflow.insights.sales import WINDOWS, History
from orderflow.insights.status import Status
from orderflow.settings import Settings
from orderflow.store import audits, ledger, reading
from orderflow.store.audits import Audit
from orderflow.store.connection import Connection
from orderflow.store.reading import SalesOf, StoredOrder

LOOK = 1.0  # seconds between two looks
_SLOW_LOOK = 5.0  # seconds between two looks at what costs more: today's sales, products, the quarantine
_IDLE_SHARE = 4  # times as long as it reads, the thread leaves the database alone
_AGAIN = 2.0  # seconds before a server that failed is asked again
_SILENCE = 4.0  # seconds after which a server that was asked counts as away
_STALLED = 15.0  # seconds without progress after which an active sink is said to stall
_RATE_SPAN = 5.0  # seconds over which the current rate is taken
_RATES = 120  # of the past, one a look
_LATEST = 20  # orders

State = Literal["asking", "ok", "waiting", "away"]


class Part(msgspec.Struct, frozen=True):
    """Kafka, the database or the sink: how it is, in a word and in a sentence. `asking`: not known yet."""

    state: State
    sentence: str
    hint: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that is shown at one moment. What was never read is None; what could not be read again keeps its value.

    `read_at` is when the tables were last read. `rates` are orders stored per second, one for each second, the last
    one now. `sink_says` is the sink's own last line, where it can be read.
    """

    at: datetime
    read_at: datetime | None
    kafka: Part
    database: Part
    sink: Part
    sink_says: str | None
    status: Status | None
    stored_per_second: float | None
    rates: tuple[float, ...]
    latency: Latency | None
    latest: tuple[StoredOrder, ...]
    today: SalesOf | None
    products: SalesOf | None
    audit: Audit | None


class _Asked:
    """What asking a server has come to. One thread writes, others read."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.error: OrderFlowError | None = None
        self.ever = False
        self._since: float | None = None  # when the question was put that is still open

    def begin(self) -> None:
        self._since = time.monotonic()

    def end(self, error: OrderFlowError | None = None) -> None:
        self.error, self._since, self.ever = error, None, True

    def part(self, answers: str) -> Part:
        waited = time.monotonic() - self._since if self._since is not None else 0
        if self.error:
            return Part("away", self.error.message, self.error.hint)
        if waited > _SILENCE:
            return Part("away", f"{self._name} has not answered for {waited:.0f} seconds.")
        return Part("ok", answers) if self.ever else Part("asking", f"Asking {self._name}.")


class Monitor:
    """The one reader behind dashboard, `orderflow top` and metrics. `sink_says` gives the sink's own last line."""

    def __init__(self, settings: Settings, sink_says: Callable[[], str | None] = lambda: None) -> None:
        """Nothing is asked yet."""
        self._settings = settings
        self._sink_says = sink_says
        self._kafka = _Asked(f"Kafka at {settings.kafka_bootstrap_servers}")
        self._database = _Asked(f"MySQL at {settings.database_address}")
        self._ends: dict[int, int] = {}
        self._status: Status | None = None
        self._read_at: datetime | None = None
        self._stored: deque[tuple[float, int]] = deque(maxlen=_RATES + 1)  # (monotonic seconds, orders)
        self._positions: tuple[float, int] = (0.0, -1)  # when they last moved, their sum
        self._looked: float | None = None  # when an active sink was last looked for
        self._unled: float | None = None  # since when none was found
        self._led = False  # whether one ever was
        self._latency: Latency | None = None
        self._latest: tuple[StoredOrder, ...] = ()
        self._today: SalesOf | None = None
        self._products: SalesOf | None = None
        self._open_by_reason: dict[str, int] = {}
        self._audit: Audit | None = None
        self._histories: dict[str, History] = {}

    @contextmanager
    def watching(self, windows: Set[str] = frozenset()) -> Iterator[None]:
        """Look while the block lasts, also at the histories of these windows; the caller may change the set."""
        stop = threading.Event()
        for look in (self._watch_kafka, self._watch_database):
            # Daemons: a client that waits for a dead server must not hold up the end of the process.
            threading.Thread(target=look, args=(stop, windows), name=look.__name__, daemon=True).start()
        try:
            yield
        finally:
            stop.set()

    def history(self, window: str) -> History | None:
        """The last one read of this window; None if none was yet."""
        return self._histories.get(window)

    def snapshot(self) -> Snapshot:
        """What is known now. Never waits."""
        kafka = self._kafka.part(f"Kafka answers at {self._settings.kafka_bootstrap_servers}.")
        database = self._database.part(f"MySQL answers at {self._settings.database_address}.")
        return Snapshot(
            at=datetime.now(UTC),
            read_at=self._read_at,
            kafka=kafka,
            database=database,
            sink=self._sink(kafka, database),
            sink_says=self._sink_says(),
            status=self._status,
            stored_per_second=self._rate(),
            rates=self._rates(),
            latency=self._latency,
            latest=self._latest,
            today=self._today,
            products=self._products,
            audit=self._audit,
        )

    def _sink(self, kafka: Part, database: Part) -> Part:
        """The sink holds a named lock in the database while it is active; so whoever can ask there knows of it."""
        if database.state != "ok":
            known = "cannot be seen" if database.state == "away" else "is being looked for"
            return Part("asking", f"The sink {known}: it shows itself in MySQL. A running one waits for MySQL, too.")
        found = self._status
        if kafka.state == "away":  # a sink that waits for it takes the lock for moments only
            if not self._led:
                return Part("asking", "No sink was seen yet; one may wait for Kafka.")
            return Part("waiting", "The sink waits for Kafka; its position is kept in MySQL.")
        if self._looked is None:
            return Part("asking", "Looking for an active sink.")
        if (since := self._unled) is not None:
            # When another sink takes over, nobody holds the lock for a moment.
            if self._looked - since < _SILENCE:
                return Part("asking", "Looking for an active sink.")
            waiting = f" {found.lag:,} records wait in Kafka." if found and found.lag else ""
            return Part("away", f"No sink is active on this table and topic.{waiting}", "Start one: `orderflow sink`.")
        still = self._looked - self._positions[0]
        if found and found.lag and still > _STALLED:
            return Part(
                "waiting", f"The sink is active, but stored nothing for {still:.0f} seconds; {found.lag:,} wait."
            )
        return Part("ok", "The sink is active on this table and topic.")

    def _rate(self) -> float | None:
        samples = list(self._stored)
        if len(samples) < 2:
            return None
        now, stored = samples[-1]
        recent = [sample for sample in samples[:-1] if now - sample[0] <= _RATE_SPAN]
        before, stored_before = recent[0] if recent else samples[-2]  # looks are rarer where the database is slow
        return max(0.0, (stored - stored_before) / (now - before))

    def _rates(self) -> tuple[float, ...]:
        samples = list(self._stored)
        return tuple(
            round(max(0.0, (stored - stored_before) / (now - before)), 1)
            for (before, stored_before), (now, stored) in itertools.pairwise(samples)
        )

    def _watch_kafka(self, stop: threading.Event, _: Set[str]) -> None:
        while not stop.is_set():
            self._kafka.begin()
            try:
                self._ends = status.ends(self._settings)
            except OrderFlowError as error:
                self._ends = {}
                self._kafka.end(error)
                stop.wait(_AGAIN)
            else:
                self._kafka.end()
                stop.wait(LOOK)

    def _watch_database(self, stop: threading.Event, windows: Set[str]) -> None:
        while not stop.is_set():
            self._database.begin()
            try:
                with reading.opened(self._settings) as connection:
                    self._read_again_and_again(connection, stop, windows)
            except OrderFlowError as error:
                self._database.end(error)
                stop.wait(_AGAIN)

    def _read_again_and_again(self, connection: Connection, stop: threading.Event, windows: Set[str]) -> None:
        due = 0.0
        while not stop.is_set():
            began = time.monotonic()
            self._database.begin()
            if began >= due:
                due = began + _SLOW_LOOK
                self._read_rarely(connection)
            self._read_often(connection)
            for window in tuple(windows):
                known = self._histories.get(window)
                if known is None or datetime.now(UTC) - known.at > WINDOWS[window].step / 12:
                    self._histories[window] = sales.history(connection, window)
            connection.rollback()  # an open transaction would keep the server from tidying up
            self._database.end()
            taken = time.monotonic() - began
            stop.wait(max(LOOK - taken, _IDLE_SHARE * taken))

    def _read_often(self, connection: Connection) -> None:
        entries = ledger.entries(connection)
        now = time.monotonic()
        led = ledger.is_led(connection, self._settings)
        self._looked, self._led = now, self._led or led
        self._unled = None if led else self._unled or now
        self._latest = reading.latest(connection, _LATEST)
        newest = (self._latest[0].order_id, self._latest[0].order_timestamp) if self._latest else None
        self._latency = latency.read(connection, newest[1]) if newest else None
        found = status.combine(self._settings, entries, self._ends, newest, self._open_by_reason)
        position = sum(part.next_offset for part in found.partitions)
        if position != self._positions[1] or not found.lag:
            self._positions = now, position
        self._stored.append((now, found.stored))
        self._status, self._read_at = found, datetime.now(UTC)

    def _read_rarely(self, connection: Connection) -> None:
        self._today = sales.today(connection)
        self._products = reading.products(connection)
        self._audit = _last_audit(connection)
        self._open_by_reason = reading.open_by_reason(connection)


def _last_audit(connection: Connection) -> Audit | None:
    try:
        return audits.last(connection)
    except DatabaseRefused:  # an older sink has not made the table, or this user may not read it: the rest is shown
        return None
