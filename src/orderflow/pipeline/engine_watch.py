"""Watches the running engine: its progress, stalls, damaged partitions, and the share of quarantined records."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from orderflow import topic
from orderflow.errors import Interrupted, RestartRequired
from orderflow.pipeline.engine import Engine
from orderflow.pipeline.leader_session import read_as_leader
from orderflow.pipeline.stalls import StallDetector
from orderflow.plurals import counted
from orderflow.positions.kafka_topic_reader import KafkaTopicReader
from orderflow.positions.ledger_status import LedgerStatus, compare_ledger, read_topic_bounds
from orderflow.positions.start_checks import LedgerStart, describe_topic
from orderflow.settings import Settings
from orderflow.store import ledger
from orderflow.store.connection import Connection
from orderflow.store.quarantined_share import QuarantinedShare
from orderflow.telemetry.query_progress import QueryProgress
from orderflow.topic import TopicInfo

log = logging.getLogger(__name__)


class SinkProgress(NamedTuple):
    """A progress report of the sink.

    `status` is set if ledger and topic were queried. `error` is the class of the error that is retried.
    `query` is the engine's last micro-batch, if it has one.
    """

    state: str  # standby, running, waiting
    message: str
    status: LedgerStatus | None = None
    error: str = ""
    query: QueryProgress | None = None


class EngineWatch:
    """Watches one engine through all its restarts.

    `positions` are the ledger's at the last query. `has_caught_up` is True once the lag was 0 in the current attempt.
    Only this class changes them.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        on_progress: Callable[[SinkProgress], None],
        *,
        poll_interval: float = 0.25,
        progress_interval: float = 5.0,
        damage_reminder_interval: float = 60.0,
        drain_timeout: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """All times are in seconds. Every `poll_interval` it checks whether the engine has ended or a stop is
        requested, and every `progress_interval` the progress. It logs a damaged batch every `damage_reminder_interval`.
        A requested stop waits up to `drain_timeout` for the current batch.
        """
        self.positions: dict[int, int] = {}
        self.has_caught_up = False
        self._settings = settings
        self._engine = engine
        self._on_progress = on_progress
        self._poll_interval = poll_interval
        self._progress_interval = progress_interval
        self._damage_reminder_interval = damage_reminder_interval
        self._drain_timeout = drain_timeout
        self._clock = clock
        self._wall_clock = wall_clock
        self._positions_read_at = 0.0  # by the wall clock, which also runs while the machine is suspended
        self._stall_detector = StallDetector(clock=clock)
        self._quarantined_share = QuarantinedShare(settings, settings.kafka_topic)
        self._cleanup_policy: str | None = None
        self._last_status: LedgerStatus | None = None
        self._last_message = ""
        self._failure: tuple[float, dict[int, int]] | None = None  # time and positions of the first failure in a row
        self._damage_logged_at: dict[int, float] = {}  # by partition: time of the last log line about its damaged batch

    def begin_attempt(self) -> None:
        """Forget whether an earlier attempt has caught up."""
        self.has_caught_up = False

    def set_start(self, connection: Connection, start: LedgerStart) -> None:
        """Set the positions from which the engine is about to start. The next report of progress is logged.

        Raises DatabaseUnavailable, KafkaUnavailable, TopicUnusable, TopicRecreated.
        """
        self._set_positions(start.positions)
        if self._failure:
            self._failure = self._failure[0], self.positions
        self._last_message = ""
        self._cleanup_policy = start.cleanup_policy
        self._last_status = self._last_status or self._query_status(connection, start.topic_info)

    def mark_failed(self) -> None:
        """Record that an attempt has failed. The next progress from these positions is logged as its end."""
        self._failure = self._failure or (self._clock(), self.positions)

    def _set_positions(self, positions: Mapping[int, int]) -> None:
        self.positions, self._positions_read_at = dict(positions), self._wall_clock()

    def has_current_positions(self) -> bool:
        """Whether `positions` were read within two progress intervals; later, another sink may have moved them."""
        return 0 <= self._wall_clock() - self._positions_read_at <= 2 * self._progress_interval

    def wait_for_end(
        self,
        connection: Connection,
        topic_info: TopicInfo,
        end_offsets: Mapping[int, int],
        stop_event: threading.Event,
    ) -> bool:
        """Watch the running engine. Return True if it must be restarted; False after its end or a requested stop.

        Raises the error that made the engine fail.
        """
        self._stall_detector.start(self.positions, end_offsets)
        check_at = self._clock()
        while not self._engine.wait(self._poll_interval):
            if stop_event.is_set():
                self._engine.drain(self._drain_timeout)
                return False  # skip the last report: a broker that is down would delay the stop
            if self._clock() >= check_at:
                check_at = self._clock() + self._progress_interval
                if self._check_progress(connection, topic_info, stop_event):
                    return True
        self._finish_ranges(connection, topic_info, end_offsets, stop_event)
        return False

    def _check_progress(self, connection: Connection, topic_info: TopicInfo, stop_event: threading.Event) -> bool:
        """Report the progress, handle stalls, and update the engine's trigger. Return whether it must restart.

        Raises Interrupted if the engine hangs, and what `_report_progress` and `_log_damaged_partitions` raise.
        """
        current = self._report_progress(connection, topic_info)
        self._log_damaged_partitions()
        self._handle_overdue_partitions(connection, topic_info, current, stop_event)
        self.has_caught_up |= current.lag == 0
        return self._engine.update_trigger(current.lag or 0)

    def _finish_ranges(
        self, connection: Connection, topic_info: TopicInfo, end_offsets: Mapping[int, int], stop_event: threading.Event
    ) -> None:
        """After the engine's end: skip empty offsets before `end_offsets`, and report the progress.

        Raises Interrupted if there are records that it did not store.
        """
        self._query_status(connection, topic_info)
        if partitions := self._advance_past_empty_offsets(connection, topic_info, end_offsets, stop_event):
            raise Interrupted(
                f"The engine has ended, although {topic_info.name} partition {partitions[0]} has records from offset"
                f" {self.positions[partitions[0]]} on."
            )
        self._report_progress(connection, topic_info)

    def _handle_overdue_partitions(
        self, connection: Connection, topic_info: TopicInfo, current: LedgerStatus, stop_event: threading.Event
    ) -> None:
        """Handle partitions whose position has not moved for the stall timeout and that have later offsets.

        Skip empty offsets, or report a stall. Raises Interrupted if the engine hangs: there are records to read, and no
        other partition has moved either.
        """
        overdue = self._stall_detector.update_and_find_overdue(current.partitions, self._engine.stall_timeout())
        if not overdue:
            return
        partitions = self._advance_past_empty_offsets(connection, topic_info, overdue, stop_event)
        if partitions and (seconds := self._stall_detector.register_stall()):
            self._engine.mark_stalled()
            raise Interrupted(
                f"Nothing was stored for {seconds:.0f} seconds, although {topic_info.name} partition {partitions[0]}"
                f" has records from offset {self.positions[partitions[0]]} on"
                f" (engine activity: {self._engine.activity()}).",
                hint="If this repeats, another session may hold locks on the tables: SHOW PROCESSLIST shows it.",
            )
        self._stall_detector.wait_again(current.partitions, overdue)
        self.has_caught_up |= not partitions and len(overdue) == len(topic_info.partitions)

    def _report_progress(self, connection: Connection, topic_info: TopicInfo) -> LedgerStatus:
        """Check ledger and topic, and log the result if it has changed.

        Raises TooManyQuarantined, and what `_query_status` raises.
        """
        current = self._query_status(connection, topic_info)
        if self._failure and (current.lag == 0 or self.positions != self._failure[1]):
            log.info("The sink works again, %.0f seconds after the first failure.", self._clock() - self._failure[0])
            self._failure = None
        lag = "unknown" if current.lag is None else f"{current.lag:,}"
        message = (
            f"{current.stored:,} stored, {counted(current.duplicates, 'duplicate')},"
            f" {current.quarantined:,} quarantined, lag {lag}"
        )
        if message != self._last_message:
            self._last_message = message
            log.info("%s", message, extra={"lag": current.lag})
        self._on_progress(SinkProgress("running", message, current, query=self._engine.progress()))
        self._check_quarantined_share(current)
        return current

    def _check_quarantined_share(self, current: LedgerStatus) -> None:
        """Check the share of quarantined records. A writer checks it too, but on a cluster Spark repeats its task.

        Raises TooManyQuarantined.
        """
        before, self._last_status = self._last_status, current
        if before:
            records, quarantined = current.records - before.records, current.quarantined - before.quarantined
            if records >= quarantined >= 0:  # false if the tables were restored to an older state
                self._quarantined_share.add(records, quarantined)

    def _advance_past_empty_offsets(
        self, connection: Connection, topic_info: TopicInfo, end_offsets: Mapping[int, int], stop_event: threading.Event
    ) -> list[int]:
        """Move the ledger past transaction markers and aborted records, where only these are left before `end_offsets`.

        Otherwise these offsets would count as lost records when retention removes them from an idle partition. Return
        the partitions that have records before their ends.
        """
        topic_reader, damaged = KafkaTopicReader(self._settings, topic_info.topic_id), self._engine.damaged_partitions()
        starts = {
            partition: self.positions[partition]
            for partition, end in end_offsets.items()
            if partition not in damaged and self.positions[partition] < end
        }

        def find_partitions_with_records() -> list[int]:
            return [
                partition
                for partition, start in starts.items()
                if topic_reader.holds_records(partition, start, end_offsets[partition])
            ]

        with_records = read_as_leader(connection, stop_event, find_partitions_with_records) if starts else []
        for partition, start in starts.items():
            if partition not in with_records:
                finish_check = topic_reader.request_topic_id_check()
                finish_check()  # the topic was not recreated meanwhile
                end = end_offsets[partition]
                ledger.advance_past_empty(connection, topic_info.name, topic_info.topic_id, partition, start, end)
        return with_records

    def _query_status(self, connection: Connection, topic_info: TopicInfo) -> LedgerStatus:
        """Query ledger and topic. This also detects a lost leadership lock, and a topic recreated or now compacted.

        Raises DatabaseUnavailable, TopicRecreated, TopicUnusable, RestartRequired (other partitions), KafkaUnavailable.
        """
        entries = ledger.read_entries(connection, topic_info.name)
        self._set_positions({entry.partition: entry.next_offset for entry in entries})
        current_info = describe_topic(self._settings, connection)
        ledger.check_topic_id(topic_info.name, current_info.topic_id, topic_info.topic_id)
        # None: the user lacks DescribeConfigs. Do not ask again, because brokers log each refusal.
        if self._cleanup_policy is not None:
            topic.check_cleanup_policy(self._settings)
        if not self.positions.keys() >= {*topic_info.partitions}:
            raise RestartRequired(f"The ledger lacks partitions of topic {topic_info.name}: its tables were changed.")
        if added := set(current_info.partitions).difference(topic_info.partitions):
            raise RestartRequired(f"Topic {topic_info.name} has new partitions: {', '.join(map(str, sorted(added)))}.")
        return compare_ledger(topic_info.name, entries, read_topic_bounds(self._settings, current_info))

    def _log_damaged_partitions(self) -> None:
        """Log the partitions that a damaged batch blocks, once a minute until an operator acts.

        Raises RestartRequired if the ledger's position is after the batch: an operator has accepted its loss.
        """
        for partition, damaged in self._engine.damaged_partitions().items():
            if self.positions.get(partition, 0) > damaged.offset:
                raise RestartRequired(
                    f"The loss of the damaged batch in {self._settings.kafka_topic} partition {partition} at offset"
                    f" {damaged.offset} is accepted."
                )
            logged_at = self._damage_logged_at.get(partition)
            if logged_at is None or self._clock() - logged_at >= self._damage_reminder_interval:
                self._damage_logged_at[partition] = self._clock()
                log.warning("%s The other partitions continue. %s", damaged.error.message, damaged.error.hint)
