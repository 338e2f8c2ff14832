"""Watches the running engine: its progress, stalls, damaged partitions, and the share of rejected records."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from orderflow import topic
from orderflow.errors import Interrupted, RestartRequired
from orderflow.insights import status
from orderflow.insights.status import Status, TopicExtent
from orderflow.kafka_topic_reader import KafkaTopicReader
from orderflow.metrics.query_progress import QueryProgress
from orderflow.pipeline.engine import Engine
from orderflow.pipeline.leader_reading import read_as_leader
from orderflow.pipeline.stalls import StallDetector
from orderflow.plurals import counted
from orderflow.settings import Settings
from orderflow.store import ledger
from orderflow.store.connection import Connection
from orderflow.store.rejected_share import RejectedShare
from orderflow.topic import TopicInfo

log = logging.getLogger(__name__)

_POLL_INTERVAL = 0.25  # seconds between two checks of the engine
_PROGRESS_INTERVAL = 5.0  # seconds between two queries of ledger and topic, and between two lines of progress
_DAMAGE_REMINDER = 60.0  # seconds between two lines about the same damaged batch
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


class EngineWatch:
    """Watches one engine through all its restarts.

    `positions` are the ledger's at the last query. `had_stored_everything` is True if the lag was 0 since `begin`.
    """

    def __init__(self, settings: Settings, engine: Engine, on_progress: Callable[[SinkProgress], None]) -> None:
        self.positions: dict[int, int] = {}
        self.had_stored_everything = False
        self._settings = settings
        self._engine = engine
        self._on_progress = on_progress
        self._stall_detector = StallDetector()
        self._rejected_share = RejectedShare(settings, settings.kafka_topic)
        self._cleanup_policy: str | None = None
        self._last_status: Status | None = None
        self._last_message = ""
        self._damage_logged_at: dict[int, float] = {}  # by partition: when its damaged batch was last logged

    def begin(self, connection: Connection, info: TopicInfo, positions: Mapping[int, int]) -> None:
        """Set the positions from which the engine is about to start. The next report of progress is logged.

        Raises DatabaseUnavailable, KafkaUnavailable, TopicUnusable, TopicRecreated.
        """
        self.positions = dict(positions)
        self._last_message = ""
        self._cleanup_policy = topic.check_cleanup_policy(self._settings)
        self._last_status = self._last_status or self._query_status(connection, info)

    def wait_for_end(
        self,
        connection: Connection,
        info: TopicInfo,
        end_offsets: Mapping[int, int],
        stop_event: threading.Event,
    ) -> bool:
        """Watch the running engine. Return True if it must be restarted; False after its end or a requested stop.

        Raises the error that made the engine fail.
        """
        checked_at = -_PROGRESS_INTERVAL
        self._stall_detector.start(self.positions, end_offsets)
        while not self._engine.wait(_POLL_INTERVAL):
            if stop_event.is_set():
                self._engine.drain(_DRAIN_TIMEOUT)
                return False  # without a last report: a broker that is down would delay the stop
            if time.monotonic() - checked_at > _PROGRESS_INTERVAL:
                checked_at = time.monotonic()
                current = self._report_progress(connection, info)
                self._log_damaged_partitions()
                self._check_stall(connection, info, current, stop_event)
                self.had_stored_everything |= not current.lag
                if self._engine.choose_trigger(current.lag or 0):
                    return True
        self._query_status(connection, info)
        if partitions := self._advance_past_empty_offsets(connection, info, end_offsets, stop_event):
            raise Interrupted(
                f"The engine has ended, although {info.name} partition {partitions[0]} has records from offset"
                f" {self.positions[partitions[0]]} on."
            )
        self._report_progress(connection, info)
        return False

    def _check_stall(
        self, connection: Connection, info: TopicInfo, current: Status, stop_event: threading.Event
    ) -> None:
        """Look at the partitions whose position has not moved for the stall timeout, although they end after it.

        Raises Interrupted if they hold records, and no other partition has moved either: the engine hangs.
        """
        overdue = self._stall_detector.overdue(current.partitions, self._engine.stall_timeout())
        if not overdue:
            return
        partitions = self._advance_past_empty_offsets(connection, info, overdue, stop_event)
        if partitions and (seconds := self._stall_detector.register_stall()):
            self._engine.mark_stalled()
            raise Interrupted(
                f"Nothing was stored for {seconds:.0f} seconds, although {info.name} partition {partitions[0]} has"
                f" records from offset {self.positions[partitions[0]]} on"
                f" (engine activity: {self._engine.activity()}).",
                hint="If this repeats, another session may hold locks on the tables: SHOW PROCESSLIST shows it.",
            )
        self._stall_detector.wait_again(current.partitions, overdue)
        self.had_stored_everything |= not partitions and len(overdue) == len(info.partitions)

    def _report_progress(self, connection: Connection, info: TopicInfo) -> Status:
        """Check ledger and topic, and log the result if it has changed.

        Raises TooManyRejected, and what `_query_status` raises.
        """
        current = self._query_status(connection, info)
        message = (
            f"{current.stored:,} stored, {counted(current.duplicates, 'duplicate')},"
            f" {current.quarantined:,} quarantined, lag {current.lag or 0:,}"
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
        self, connection: Connection, info: TopicInfo, end_offsets: Mapping[int, int], stop_event: threading.Event
    ) -> list[int]:
        """Move the ledger past transaction markers and aborted records, where only these are left before `end_offsets`.

        Otherwise these offsets would count as lost records when retention removes them from an idle partition. Returns
        the partitions that have records before their ends.
        """
        topic_reader, damaged = KafkaTopicReader(self._settings, info.topic_id), self._engine.damaged_partitions()
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
                check_identity = topic_reader.request_identity_check()
                check_identity()  # the topic was not recreated meanwhile
                end = end_offsets[partition]
                ledger.advance_past_empty(connection, info.name, info.topic_id, partition, start, end)
        return with_records

    def _query_status(self, connection: Connection, info: TopicInfo) -> Status:
        """Query ledger and topic. This also detects a lost leadership lock, and a topic recreated or now compacted.

        Raises DatabaseUnavailable, TopicRecreated, TopicUnusable, RestartRequired (other partitions), KafkaUnavailable.
        """
        entries = ledger.entries(connection, info.name)
        self.positions = {entry.partition: entry.next_offset for entry in entries}
        current_info = topic.describe(self._settings)
        ledger.check_topic_id(info.name, current_info.topic_id, info.topic_id)
        if self._cleanup_policy is not None:  # else the user may not read it, and brokers log each refusal
            topic.check_cleanup_policy(self._settings)
        if not self.positions.keys() >= {*info.partitions}:
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
            if self.positions.get(part, 0) > damaged.offset:
                raise RestartRequired(
                    f"The loss of the damaged batch in {self._settings.kafka_topic} partition {part} at offset"
                    f" {damaged.offset} is accepted."
                )
            if time.monotonic() - self._damage_logged_at.get(part, -_DAMAGE_REMINDER) >= _DAMAGE_REMINDER:
                self._damage_logged_at[part] = time.monotonic()
                log.warning("%s The other partitions continue. %s", damaged.error.message, damaged.error.hint)


def _count(current: Status) -> int:
    return current.stored + current.duplicates + current.quarantined
