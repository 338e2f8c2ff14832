"""Keeps the sink running. It takes the leadership lock and starts the engine at the ledger's positions.

The class of an error decides whether the sink waits, restarts the engine, or stops.

Rejected: Spark's checkpoint as the position to resume from. It can be ahead of or behind what MySQL committed; the
ledger cannot.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from orderflow import topic
from orderflow.contract import native
from orderflow.errors import (
    Contention,
    Interrupted,
    JvmExited,
    KafkaUnavailable,
    LedgerGap,
    OrderFlowError,
    RestartRequired,
    TopicMissing,
    Unavailable,
    translate_shortages,
)
from orderflow.insights import status
from orderflow.insights.status import Status, TopicExtent
from orderflow.kafka_topic_reader import KafkaTopicReader
from orderflow.metrics.query_progress import QueryProgress
from orderflow.pipeline import scratch
from orderflow.pipeline.engine import Engine
from orderflow.pipeline.process_restart import restart_process, stop_on_signals
from orderflow.pipeline.stalls import StallDetector
from orderflow.plurals import counted
from orderflow.restarts import HEALTHY_RUN, UNKNOWN_ERROR_TIMEOUT, Restarts, failure_message
from orderflow.settings import Settings
from orderflow.start_checks import check_accounted_offsets, check_not_deleted
from orderflow.store import ledger, schema
from orderflow.store.connection import Connection
from orderflow.store.rejected_share import RejectedShare
from orderflow.topic import TopicInfo

log = logging.getLogger(__name__)

_POLL_INTERVAL = 0.25  # seconds between two checks of the engine
_PROGRESS_INTERVAL = 5.0  # seconds between two queries of ledger and topic, and between two lines of progress
_REMINDER_INTERVAL = 10.0  # seconds between two lines about the same outage
_DAMAGE_REMINDER = 60.0  # seconds between two lines about the same damaged batch
_LEADER_IDLE_TIMEOUT = 180  # seconds: if the active sink's machine is gone, its leadership lock ends after this time
_STANDBY_INTERVAL = 1.0  # seconds between two attempts to take the leadership lock
_DRAIN_TIMEOUT = 30.0  # seconds that a graceful stop waits for the current batch


class SinkProgress(NamedTuple):
    """A progress report of the sink.

    `status` is set if ledger and topic were queried. `error` is the class of the error that the sink waits for.
    `query` is the engine's last micro-batch, if it has one.
    """

    state: str  # standby, running, waiting
    message: str
    status: Status | None = None
    error: str = ""
    query: QueryProgress | None = None


class Supervisor:
    """Runs one sink until a signal stops it, or, with `once`, until the topic's current records are stored."""

    def __init__(
        self,
        settings: Settings,
        *,
        engine: Engine,
        once: bool = False,
        on_progress: Callable[[SinkProgress], None] = lambda _: None,
        receive_metrics: Callable[[Path], AbstractContextManager[None]] = lambda _: nullcontext(),
        unknown_error_timeout: float = UNKNOWN_ERROR_TIMEOUT,
        leader_idle_timeout: int = _LEADER_IDLE_TIMEOUT,
    ) -> None:
        """`on_progress` is called with each progress report and after each failed attempt.

        `receive_metrics` is a context manager that gets the path of the scratch folder. An unknown database error is
        retried for `unknown_error_timeout` seconds without progress. If this sink's machine is gone, the server ends
        its session after `leader_idle_timeout` seconds, and a standby takes over.
        """
        self._settings = settings
        self._engine = engine
        self._once = once
        self._on_progress = on_progress
        self._receive_metrics = receive_metrics
        self._leader_idle_timeout = leader_idle_timeout
        self._restarts = Restarts("The sink", unknown_error_timeout=unknown_error_timeout)
        self._stop_event = threading.Event()
        self._positions: dict[int, int] = {}
        self._last_message = ""
        self._stall_detector = StallDetector()
        self._started_at = 0.0  # when the current run as leader began
        self._had_stored_everything = False  # at some time of this run
        self._cleanup_policy: str | None = None
        self._rejected_share = RejectedShare(settings, settings.kafka_topic)
        self._last_status: Status | None = None
        self._reported_error: OrderFlowError | None = None  # of the current attempt
        self._last_positions: dict[int, int] = {}  # at the last failure
        self._logged_failure_at = -_REMINDER_INTERVAL
        self._warned_at: dict[int, float] = {}  # by partition: when its damaged batch was last logged

    def run(self) -> None:
        """Run the sink.

        Raises OperatorError if a person must act. The sink waits until any other error passes.
        """
        if not native.IS_COMPILED:
            log.warning(
                "OrderFlow is not installed, so it decodes orders much more slowly. To install it: pip install ."
            )
        with stop_on_signals(self._request_stop), scratch.open_folder() as folder, self._receive_metrics(folder):
            self._engine.open(folder, self._stop_event)  # it starts up during the first requests to Kafka and MySQL
            self._keep_running()
            self._engine.close()

    def _keep_running(self) -> None:
        while not self._stop_event.is_set():
            self._started_at, self._had_stored_everything = time.monotonic(), False
            self._reported_error = None
            try:
                with translate_shortages("The sink cannot continue"):
                    return self._run_as_leader()
            except JvmExited as exited:
                if not self._stop_event.is_set():  # otherwise a signal to all processes of the service has ended it
                    is_failed = not self._was_healthy()
                    restart_process(exited, self._positions, self._stop_event, has_failed=is_failed)
            except (Unavailable, Contention) as error:  # Contention: a session that died or hangs holds a lock
                if self._stop_event.is_set():
                    return None
                self._report_failure(error)
                self._restarts.register_failure(error)
                self._stop_event.wait(self._restarts.next_wait())
        return None

    def _report_failure(self, error: Unavailable | Contention) -> None:
        """Report the error of this attempt once; of several in a row, log one every 10 seconds."""
        if error is self._reported_error:
            return
        self._reported_error = error
        if self._last_positions != self._positions or self._was_healthy():
            # There was progress since the last failure, so this is a new outage.
            self._last_positions, self._logged_failure_at = dict(self._positions), -_REMINDER_INTERVAL
            self._restarts.reset()
        self._on_progress(SinkProgress("waiting", error.message, error=type(error).__name__))
        if time.monotonic() - self._logged_failure_at > _REMINDER_INTERVAL:
            self._log_failure(error)
            self._logged_failure_at = time.monotonic()

    def _was_healthy(self) -> bool:
        """Whether this run ended an earlier outage, although no record may have arrived during it."""
        return self._had_stored_everything and time.monotonic() - self._started_at > HEALTHY_RUN

    def _request_stop(self) -> None:
        log.info("Stopping after this batch. A second signal stops the sink at once. Nothing is lost in either case.")
        self._stop_event.set()

    def _run_as_leader(self) -> None:
        schema.check_active_sink(self._settings)
        for step in schema.prepare(self._settings):
            log.info("Created %s.", step.description)
        with Connection(self._settings, idle_timeout=self._leader_idle_timeout) as connection:
            if not self._take_leadership(connection):
                return
            self._started_at = time.monotonic()
            while self._run_engine(connection):
                pass

    def _run_engine(self, connection: Connection) -> bool:
        """Run the engine from the ledger's positions. Return whether it must be restarted."""
        info = self._topic(connection)
        self._cleanup_policy = topic.check_cleanup_policy(self._settings)
        first = {part: bounds.first for part, bounds in topic.bounds(self._settings, info.partitions).items()}
        self._positions = ledger.ensure_partitions(connection, info.name, info.topic_id, first)
        end_offsets = self._end_offsets(info)
        check_accounted_offsets(self._settings, connection, first)
        self._last_status = self._last_status or self._status(connection, info)
        self._engine.start(info, self._positions, end_offsets, once=self._once)
        try:
            must_restart = self._watch(connection, info, end_offsets)
        except BaseException as error:
            # Before the engine is stopped, which may take half a minute.
            if isinstance(error, Unavailable | Contention) and not isinstance(error, JvmExited):
                self._report_failure(error)
            with suppress(Unavailable):  # the first error is the cause; the next start stops the engine again
                self._engine.stop()
            raise
        self._engine.stop()
        return must_restart

    def _take_leadership(self, connection: Connection) -> bool:
        """Wait until this is the only active sink. Return False if a stop was requested meanwhile."""
        seconds = 0.0
        while not ledger.take_leadership(connection, self._settings, seconds):
            if not seconds:
                seconds = _STANDBY_INTERVAL
                log.info("Another sink is active on this table and topic. This sink is a hot standby.")
                self._on_progress(SinkProgress("standby", "another sink is active; standing by"))
            if self._stop_event.is_set():
                return False
        return True

    def _topic(self, connection: Connection) -> TopicInfo:
        try:
            return topic.describe(self._settings)
        except TopicMissing as missing:
            check_not_deleted(self._settings, connection, missing)
            return topic.get_or_create(self._settings)

    def _end_offsets(self, info: TopicInfo) -> dict[int, int]:
        """Return the current ends of the topic's partitions.

        Raises KafkaUnavailable if an end is before the ledger's position. A broker that restarts may briefly report an
        older end. A broker that lost records reports it permanently.
        """
        end_offsets = {part: bounds.end for part, bounds in topic.bounds(self._settings, info.partitions).items()}
        for part, end in end_offsets.items():
            if self._positions[part] > end:
                raise KafkaUnavailable(
                    f"{info.name} partition {part} ends at offset {end}, before the ledger's position"
                    f" {self._positions[part]}: Kafka is recovering, or has lost records that are already stored."
                )
        return end_offsets

    def _watch(self, connection: Connection, info: TopicInfo, end_offsets: Mapping[int, int]) -> bool:
        """Watch the engine. Return True if it must be restarted; False after its end or after a requested stop.

        Raises the error that made the engine fail.
        """
        checked_at = -_PROGRESS_INTERVAL
        self._stall_detector.start(self._positions, end_offsets)
        while not self._engine.wait(_POLL_INTERVAL):
            if self._stop_event.is_set():
                self._engine.drain(_DRAIN_TIMEOUT)
                return False  # without a last report: a broker that is down would delay the stop
            if time.monotonic() - checked_at > _PROGRESS_INTERVAL:
                checked_at = time.monotonic()
                current = self._report_progress(connection, info)
                self._log_damaged_partitions()
                self._check_stall(connection, info, current)
                self._had_stored_everything |= not current.lag
                if not self._engine.can_continue(current.lag or 0):
                    return True
        self._status(connection, info)
        if partitions := self._advance_past_empty_offsets(connection, info, end_offsets):
            raise Interrupted(
                f"The engine has ended, although {info.name} partition {partitions[0]} has records from offset"
                f" {self._positions[partitions[0]]} on."
            )
        self._report_progress(connection, info)
        return False

    def _check_stall(self, connection: Connection, info: TopicInfo, current: Status) -> None:
        """Look at the partitions whose position has not moved for the stall timeout, although they end after it.

        Raises Interrupted if they hold records, and no other partition has moved either: the engine hangs.
        """
        overdue = self._stall_detector.overdue(current.partitions, self._engine.stall_timeout())
        if not overdue:
            return
        partitions = self._advance_past_empty_offsets(connection, info, overdue)
        if partitions and (seconds := self._stall_detector.stalled_for()):
            raise Interrupted(
                f"Nothing was stored for {seconds:.0f} seconds, although {info.name} partition {partitions[0]} has"
                f" records from offset {self._positions[partitions[0]]} on"
                f" (engine activity: {self._engine.activity()})."
            )
        self._stall_detector.wait_again(current.partitions, overdue)
        self._had_stored_everything |= not partitions and len(overdue) == len(info.partitions)

    def _report_progress(self, connection: Connection, info: TopicInfo) -> Status:
        """Check ledger and topic, and log the result if it has changed.

        Raises TooManyRejected, and what `_status` raises.
        """
        current = self._status(connection, info)
        message = (
            f"{current.stored} stored, {current.duplicates} duplicates, {current.quarantined} quarantined,"
            f" lag {current.lag}"
        )
        if message != self._last_message:
            self._last_message = message
            log.info("%s", message, extra={"lag": current.lag})
        self._on_progress(SinkProgress("running", message, current, query=self._engine.progress()))
        self._check_rejected_share(current)
        return current

    def _check_rejected_share(self, current: Status) -> None:
        """Raise TooManyRejected if too many of the last records were rejected.

        A writer checks this too, but on a cluster Spark repeats its task.
        """
        before, self._last_status = self._last_status, current
        if before:
            records, rejected = _count(current) - _count(before), current.quarantined - before.quarantined
            if records >= rejected >= 0:  # not if the tables were restored to an older state
                self._rejected_share.add(records, rejected)

    def _advance_past_empty_offsets(
        self, connection: Connection, info: TopicInfo, end_offsets: Mapping[int, int]
    ) -> list[int]:
        """Move the ledger past transaction markers and aborted records, where only these are left before `end_offsets`.

        Otherwise these offsets would count as lost records when retention removes them from an idle partition. Returns
        the partitions that have records before their ends.
        """
        topic_reader, damaged = KafkaTopicReader(self._settings, info.topic_id), self._engine.damaged_partitions()
        with_records = []
        for part, end in end_offsets.items():
            start = self._positions[part]
            if part in damaged or start >= end:
                continue
            if topic_reader.holds_records(part, start, end):
                with_records.append(part)
            else:
                check_identity = topic_reader.request_identity_check()
                check_identity()  # these were the offsets of the topic that the ledger knows
                ledger.advance_past_empty(connection, info.name, info.topic_id, part, start, end)
        return with_records

    def _status(self, connection: Connection, info: TopicInfo) -> Status:
        """Query ledger and topic. This also detects a lost leadership lock, and a topic recreated or now compacted.

        Raises DatabaseUnavailable, TopicRecreated, TopicUnusable, RestartRequired (other partitions), KafkaUnavailable.
        """
        entries = ledger.entries(connection, info.name)
        self._positions = {entry.partition: entry.next_offset for entry in entries}
        current_info = topic.describe(self._settings)
        ledger.check_topic_id(info.name, current_info.topic_id, info.topic_id)
        if self._cleanup_policy is not None:  # else the user may not read it, and brokers log each refusal
            topic.check_cleanup_policy(self._settings)
        if not self._positions.keys() >= {*info.partitions}:
            raise RestartRequired(f"The ledger lacks partitions of topic {info.name}: its tables were changed.")
        if added := set(current_info.partitions).difference(info.partitions):
            raise RestartRequired(f"Topic {info.name} has new partitions: {', '.join(map(str, sorted(added)))}.")
        extent = TopicExtent(current_info.topic_id, topic.bounds(self._settings, current_info.partitions))
        return status.combine(self._settings, entries, extent, newest=None)

    def _log_damaged_partitions(self) -> None:
        """Log the partitions that a damaged batch blocks, once a minute until an operator acts.

        Raises RestartRequired if the ledger's position is after the batch: an operator has accepted its loss.
        """
        for part, damaged in self._engine.damaged_partitions().items():
            if self._positions.get(part, 0) > damaged.offset:
                raise RestartRequired(
                    f"The loss of the damaged batch in {self._settings.kafka_topic} partition {part} at offset"
                    f" {damaged.offset} is accepted."
                )
            if time.monotonic() - self._warned_at.get(part, -_DAMAGE_REMINDER) >= _DAMAGE_REMINDER:
                self._warned_at[part] = time.monotonic()
                log.warning("%s The other partitions continue. %s", damaged.error.message, damaged.error.hint)

    def _lag(self) -> int:
        bounds = topic.bounds(self._settings, topic.describe(self._settings).partitions)
        return sum(max(0, bounds[part].end - self._positions.get(part, bounds[part].first)) for part in bounds)

    def _log_failure(self, error: Unavailable | Contention) -> None:
        is_restart = isinstance(error, Interrupted | LedgerGap | Contention)
        next_step = "Restarting at the ledger's position." if is_restart else "Retrying."
        if self._positions and not isinstance(error, KafkaUnavailable):
            with suppress(OrderFlowError):  # Kafka is unavailable too, or the next attempt reports this error
                next_step += f" The lag is {counted(self._lag(), 'record')}."
        log.warning("%s", failure_message(error, next_step), extra={"error": type(error).__name__})


def _count(current: Status) -> int:
    return current.stored + current.duplicates + current.quarantined
