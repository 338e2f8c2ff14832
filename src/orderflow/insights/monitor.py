"""The live view: polls database and topic at a limited rate and shares the result with all viewers.

One thread reads the database over one read-only connection, at most once a second and for at most a fifth of the time.
Another thread queries Kafka, so that an outage of one server does not hide the state of the other. Viewers call
`snapshot`, which never waits. No thread runs outside `watching`.
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

from orderflow.contract import loader
from orderflow.errors import DatabaseRefused, KafkaUnavailable, OrderFlowError
from orderflow.insights import latency, sales, status
from orderflow.insights.latency import Latency
from orderflow.insights.sales import WINDOWS, History
from orderflow.insights.status import Status
from orderflow.plurals import counted
from orderflow.positions.ledger_status import TopicBounds, read_topic_bounds
from orderflow.settings import Settings
from orderflow.store import audits, ledger, viewer_queries
from orderflow.store.audits import Audit
from orderflow.store.connection import Connection
from orderflow.store.viewer_queries import DisplayedOrder, SalesSummary

POLL_INTERVAL = 1.0  # seconds between two polls
_SLOW_POLL_INTERVAL = 5.0  # seconds between two polls of the slower queries: today's sales, products, the quarantine
_IDLE_FACTOR = 4  # after reading for t seconds, the thread does not use the database for 4 * t seconds
_RETRY_WAIT = 2.0  # seconds between a failed query and the next one
_ANSWER_TIMEOUT = 4.0  # seconds without an answer after which a server counts as unavailable
# Seconds without progress after which an active sink is reported as stalled. Transaction markers at the end of a
# partition count as lag until the sink passes them, after 150 seconds.
_STALL_TIMEOUT = 180.0
_RATE_SPAN = 5.0  # seconds over which the current rate is averaged
_RATES = 120  # past rates, one for each poll
_LATEST = 20  # orders

State = Literal["unknown", "ok", "waiting", "unavailable"]


class ServerState(msgspec.Struct, frozen=True):
    """The state of Kafka, the database or the sink, with a sentence for the user. `unknown`: not checked yet."""

    state: State
    sentence: str
    hint: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is shown at one moment. A value is None until it is read; if reading fails, it keeps its value.

    `read_at` is when the tables were last read. `rates` are orders stored per second, one for each poll, the newest
    last. `sink_log_line` is the last line of the sink's log, or None if the log is not available. `has_categories` and
    `has_products` are whether orders differ in their category and product by the contract.
    """

    at: datetime
    read_at: datetime | None
    kafka: ServerState
    database: ServerState
    sink: ServerState
    sink_log_line: str | None
    status: Status | None
    stored_per_second: float | None
    rates: tuple[float, ...]
    latency: Latency | None
    latest: tuple[DisplayedOrder, ...]
    today: SalesSummary | None
    products: SalesSummary | None
    audit: Audit | None
    has_categories: bool
    has_products: bool


class _Queries:
    """The result of the queries to a server. One thread writes it, other threads read it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.error: OrderFlowError | None = None
        self.has_answered = False
        self._pending_since: float | None = None  # monotonic seconds; when the unanswered query started

    def begin(self) -> None:
        self._pending_since = time.monotonic()

    def end(self, error: OrderFlowError | None = None) -> None:
        self.error, self._pending_since, self.has_answered = error, None, True

    def server_state(self, ok_sentence: str) -> ServerState:
        waited = time.monotonic() - self._pending_since if self._pending_since is not None else 0
        if self.error:
            return ServerState("unavailable", self.error.message, self.error.hint)
        if waited > _ANSWER_TIMEOUT:
            return ServerState("unavailable", f"{self._name} has not answered for {waited:.0f} seconds.")
        return (
            ServerState("ok", ok_sentence)
            if self.has_answered
            else ServerState("unknown", f"Connecting to {self._name}.")
        )


class Monitor:
    """Reads everything that the dashboard, `orderflow top` and their metrics show."""

    def __init__(self, settings: Settings, read_sink_log: Callable[[], str | None] = lambda: None) -> None:
        """Start nothing yet. `read_sink_log` returns the last line of the sink's log, or None."""
        self._settings = settings
        self._read_sink_log = read_sink_log
        self._contract = loader.contract_of(settings)
        self._has_products = bool(self._contract.by_name["product_name"].path)
        self._kafka = _Queries(f"Kafka at {settings.kafka_bootstrap_servers}")
        self._database = _Queries(f"MySQL at {settings.database_address}")
        self._topic_bounds: TopicBounds | OrderFlowError = KafkaUnavailable("Kafka was not read yet.")
        self._status: Status | None = None
        self._read_at: datetime | None = None
        self._stored: deque[tuple[float, int]] = deque(maxlen=_RATES + 1)  # (monotonic seconds, orders)
        self._positions: tuple[float, int] = (0.0, -1)  # (monotonic seconds of the last change, sum of the offsets)
        # Monotonic seconds.
        self._lock_checked_at: float | None = None
        self._unlocked_since: float | None = None  # None while a sink holds its lock
        self._was_locked = False  # whether a sink has held its lock since the start
        self._latency: Latency | None = None
        self._latest: tuple[DisplayedOrder, ...] = ()
        self._today: SalesSummary | None = None
        self._products: SalesSummary | None = None
        self._open_by_reason: dict[str, int] = {}
        self._audit: Audit | None = None
        self._histories: dict[str, History] = {}

    @contextmanager
    def watching(self, windows: Set[str] = frozenset()) -> Iterator[None]:
        """Poll while the block runs, including the histories of these windows; the caller may change the set."""
        stop = threading.Event()
        for target in (self._poll_kafka, self._poll_database):
            # Daemon threads: a client that waits for an unavailable server must not delay the end of the process.
            threading.Thread(target=target, args=(stop, windows), name=target.__name__, daemon=True).start()
        try:
            yield
        finally:
            stop.set()

    def history(self, window: str) -> History | None:
        """The last history read of this window; None if there is none yet."""
        return self._histories.get(window)

    def snapshot(self) -> Snapshot:
        """The current values. Never waits."""
        kafka = self._kafka.server_state(f"Kafka answers at {self._settings.kafka_bootstrap_servers}.")
        database = self._database.server_state(f"MySQL answers at {self._settings.database_address}.")
        return Snapshot(
            at=datetime.now(UTC),
            read_at=self._read_at,
            kafka=kafka,
            database=database,
            sink=self._sink(kafka, database),
            sink_log_line=self._read_sink_log(),
            status=self._status,
            stored_per_second=self._rate(),
            rates=self._rates(),
            latency=self._latency,
            latest=self._latest,
            today=self._today,
            products=self._products,
            audit=self._audit,
            has_categories=self._contract.has_categories,
            has_products=self._has_products,
        )

    def _sink(self, kafka: ServerState, database: ServerState) -> ServerState:
        """The state of the sink. An active sink holds a named lock in the database."""
        if database.state == "unavailable":
            unknown = "The state of the sink is unknown, because it is read from MySQL."
            return ServerState("unknown", f"{unknown} A running sink also waits for MySQL.")
        if database.state != "ok":
            return ServerState("unknown", "Reading the state of the sink from MySQL.")
        last_status = self._status
        if kafka.state == "unavailable":  # a sink that waits for Kafka holds the lock only briefly
            if not self._was_locked:
                return ServerState("unknown", "No active sink has been seen yet. One may be waiting for Kafka.")
            return ServerState("waiting", "The sink waits for Kafka; its position is kept in MySQL.")
        if self._lock_checked_at is None:
            return ServerState("unknown", "Checking for an active sink.")
        if (since := self._unlocked_since) is not None:
            # While another sink takes over, the lock is briefly free.
            if self._lock_checked_at - since < _ANSWER_TIMEOUT:
                return ServerState("unknown", "Checking for an active sink.")
            waiting = f" The lag is {counted(last_status.lag, 'record')}." if last_status and last_status.lag else ""
            if last_status and last_status.lag_unknown_because:
                waiting = f" {last_status.lag_unknown_because}"
            return ServerState(
                "unavailable", f"No sink is active on this table and topic.{waiting}", "Start one: `orderflow sink`."
            )
        stalled_for = self._lock_checked_at - self._positions[0]
        if last_status and last_status.lag and stalled_for > _STALL_TIMEOUT + self._settings.trigger_interval:
            return ServerState(
                "waiting",
                f"The sink is active, but has stored nothing for {stalled_for:.0f} s."
                f" The lag is {counted(last_status.lag, 'record')}.",
            )
        return ServerState("ok", "The sink is active on this table and topic.")

    def _rate(self) -> float | None:
        samples = list(self._stored)
        if len(samples) < 2:
            return None
        now, stored = samples[-1]
        recent = [sample for sample in samples[:-1] if now - sample[0] <= _RATE_SPAN]
        before, stored_before = recent[0] if recent else samples[-2]  # polls are rarer with a slow database
        return max(0.0, (stored - stored_before) / (now - before))

    def _rates(self) -> tuple[float, ...]:
        samples = list(self._stored)
        return tuple(
            round(max(0.0, (stored - stored_before) / (now - before)), 1)
            for (before, stored_before), (now, stored) in itertools.pairwise(samples)
        )

    def _poll_kafka(self, stop: threading.Event, _: Set[str]) -> None:
        while not stop.is_set():
            self._kafka.begin()
            try:
                self._topic_bounds = read_topic_bounds(self._settings)
            except OrderFlowError as error:
                self._topic_bounds = error
                self._kafka.end(error)
                stop.wait(_RETRY_WAIT)
            else:
                self._kafka.end()
                stop.wait(POLL_INTERVAL)

    def _poll_database(self, stop: threading.Event, windows: Set[str]) -> None:
        while not stop.is_set():
            self._database.begin()
            try:
                with viewer_queries.open_reader(self._settings) as connection:
                    self._poll_connection(connection, stop, windows)
            except OrderFlowError as error:
                self._database.end(error)
                stop.wait(_RETRY_WAIT)

    def _poll_connection(self, connection: Connection, stop: threading.Event, windows: Set[str]) -> None:
        due = 0.0
        while not stop.is_set():
            started_at = time.monotonic()
            self._database.begin()
            if started_at >= due:
                due = started_at + _SLOW_POLL_INTERVAL
                self._read_slow_values(connection)
            self._read_fast_values(connection)
            for window in tuple(windows):
                history = self._histories.get(window)
                if history is None or datetime.now(UTC) - history.at > WINDOWS[window].step / 12:
                    self._histories[window] = sales.read_history(connection, window)
            connection.rollback()  # an open transaction would keep the server from purging old row versions
            self._database.end()
            taken = time.monotonic() - started_at
            stop.wait(max(POLL_INTERVAL - taken, _IDLE_FACTOR * taken))

    def _read_fast_values(self, connection: Connection) -> None:
        entries = ledger.read_entries(connection)
        now = time.monotonic()
        is_locked = ledger.has_active_sink(connection, self._settings)
        self._lock_checked_at, self._was_locked = now, self._was_locked or is_locked
        self._unlocked_since = None if is_locked else self._unlocked_since or now
        self._latest = viewer_queries.read_latest(connection, _LATEST)
        newest = (self._latest[0].order_id, self._latest[0].order_timestamp) if self._latest else None
        self._latency = latency.read(connection, newest[1]) if newest else None
        pipeline_status = status.build(self._settings, entries, self._topic_bounds, newest, self._open_by_reason)
        position = sum(partition_status.next_offset for partition_status in pipeline_status.partitions)
        if position != self._positions[1] or not pipeline_status.lag:
            self._positions = now, position
        self._stored.append((now, pipeline_status.stored))
        self._status, self._read_at = pipeline_status, datetime.now(UTC)

    def _read_slow_values(self, connection: Connection) -> None:
        self._today = sales.read_today(connection)
        self._products = viewer_queries.read_products(connection) if self._has_products else None
        self._audit = _last_audit(connection)
        self._open_by_reason = viewer_queries.count_open_by_reason(connection)


def _last_audit(connection: Connection) -> Audit | None:
    try:
        return audits.last(connection)
    except DatabaseRefused:  # an older sink did not create the table, or the user has no privilege; show the rest
        return None
