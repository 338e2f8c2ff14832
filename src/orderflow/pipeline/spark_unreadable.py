"""Stores, with the direct engine, the records at which a Spark query ends.

These are the records before a damaged batch, and those with a timestamp that is too large.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

from orderflow import topic
from orderflow.errors import Interrupted, KafkaUnavailable, OffsetsLost, RestartRequired
from orderflow.offsets import DamagedRange
from orderflow.pipeline.direct import DirectEngine
from orderflow.pipeline.engine import (
    DAMAGE_RETRY_INTERVAL,
    STALL_TIMEOUT,
    DamagedPartition,
    run_in_thread,
    wait_unless_stopped,
)
from orderflow.settings import Settings
from orderflow.topic import Record, TopicInfo

log = logging.getLogger(__name__)

# Spark's source converts a record's timestamp to microseconds in 64 bits. A later one ends the query.
_LATEST_TIMESTAMP = (2**63 - 1) // 1000  # milliseconds


class UnreadableRecords:
    """Finds damaged batches and records with a timestamp after `_LATEST_TIMESTAMP`. Each of them ends a query."""

    def __init__(self, settings: Settings, *, retry_interval: float = DAMAGE_RETRY_INTERVAL) -> None:
        """Reading a damaged batch is retried every `retry_interval` seconds."""
        self._settings = settings
        self._retry_interval = retry_interval
        self.must_search = False  # whether an unreadable record may have caused the last failure
        self.damaged: dict[int, DamagedPartition] = {}
        self._damage_checked_at = 0.0
        self._stall_timeout = STALL_TIMEOUT
        self._probe: Future[bool] | None = None  # the attempt in progress to read the damaged batches

    def store_without_spark(
        self,
        topic_info: TopicInfo,
        positions: Mapping[int, int],
        end_offsets: Mapping[int, int],
        *,
        scratch: Path,
        stop_event: threading.Event,
    ) -> Mapping[int, int]:
        """Store the records up to the last that Spark cannot read. Return the positions from which Spark can read.

        Raises StopRequested when `stop_event` is set, and Interrupted if nothing is stored for the stall timeout.
        """
        if not self.must_search and not self.damaged:
            return positions
        # At a batch whose length is damaged, each attempt to read takes half a minute.
        search = run_in_thread("search-damage", lambda: self._search(positions, end_offsets))
        wait_unless_stopped(search, stop_event, "damaged batches were searched")
        self.damaged, readable_from = search.result()
        self._damage_checked_at, self._probe = time.monotonic(), None
        if readable_from:
            log.warning(
                "Records of %s have a timestamp that Spark cannot read. OrderFlow stores them without Spark: %s.",
                topic_info.name,
                ", ".join(
                    f"partition {partition} up to offset {offset - 1}" for partition, offset in readable_from.items()
                ),
            )
        readable_from |= {
            partition: damaged.offset
            for partition, damaged in self.damaged.items()
            if positions[partition] < damaged.offset
        }
        if readable_from:
            starts = {partition: positions[partition] for partition in readable_from}
            engine = DirectEngine(self._settings, stall_timeout=self._stall_timeout)
            try:
                engine.commit_range(topic_info, starts, readable_from, scratch, stop_event)
            except RestartRequired:
                raise
            except Interrupted:  # a long range of aborted records may take longer to read
                self._stall_timeout *= 2
                raise
            self._stall_timeout = STALL_TIMEOUT
        self.must_search = False
        return {
            partition: readable_from.get(partition, position)
            for partition, position in positions.items()
            if partition not in self.damaged
        }

    def _search(
        self, positions: Mapping[int, int], end_offsets: Mapping[int, int]
    ) -> tuple[dict[int, DamagedPartition], dict[int, int]]:
        """Return the damaged partitions, and by partition the offset after the last record with a too late timestamp.

        Spark divides a micro-batch among the partitions by their backlogs. The search reads twice this partition's
        share, because more records may arrive before Spark plans. It uses librdkafka, which fails at the same batch,
        instead of parsing the text of Spark's exception.
        """
        damaged_partitions: dict[int, DamagedPartition] = {}
        readable_from: dict[int, int] = {}

        def check_record(record: Record) -> None:
            if record.timestamp > _LATEST_TIMESTAMP:
                readable_from[record.partition] = record.offset + 1

        backlogs = {partition: max(0, end_offsets[partition] - position) for partition, position in positions.items()}
        limit, lag = self._settings.max_offsets_per_trigger, sum(backlogs.values())
        for partition, position in positions.items():
            backlog = backlogs[partition]
            end = position + min(backlog, limit, 2 * limit * backlog // max(1, lag) + 1)
            if position < end and (damage := self._find_damage(partition, position, end, check_record)):
                error = topic.damaged_batch_error(self._settings, partition, damage.first, damage.reason)
                damaged_partitions[partition] = DamagedPartition(damage.position, error)
        return damaged_partitions, readable_from

    def probe_damaged_partitions(self) -> bool:
        """Return whether a damaged batch can be read again. A thread tries it every `retry_interval` seconds."""
        if self._probe is None:
            if self.damaged and time.monotonic() - self._damage_checked_at >= self._retry_interval:
                self._probe = run_in_thread("probe-damage", self._can_read_damaged)
            return False
        if not self._probe.done():
            return False
        probe, self._probe, self._damage_checked_at = self._probe, None, time.monotonic()
        return probe.result()

    def _can_read_damaged(self) -> bool:
        try:
            return any(
                self._find_damage(partition, damaged.offset, damaged.offset + 1) is None
                for partition, damaged in self.damaged.items()
            )
        except RestartRequired:
            return True
        except KafkaUnavailable:  # the partitions that can be read continue
            return False

    def _find_damage(
        self, partition: int, start: int, end: int, on_record: Callable[[Record], None] = lambda _: None
    ) -> DamagedRange | None:
        try:
            return topic.find_next_damage(self._settings, partition, start, end, on_record)
        except OffsetsLost as lost:  # retention has removed the batch: the next start reports everything that is lost
            raise RestartRequired(lost.message) from lost
