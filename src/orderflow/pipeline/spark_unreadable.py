"""Stores without Spark what its Kafka source cannot read past: damaged batches, and too late timestamps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from orderflow import topic
from orderflow.errors import Interrupted
from orderflow.pipeline.direct import DirectEngine
from orderflow.pipeline.engine import DAMAGE_RETRY_INTERVAL, DamagedPartition
from orderflow.settings import Settings
from orderflow.topic import Record, TopicInfo

log = logging.getLogger(__name__)

# Spark's source converts a record's timestamp to microseconds in 64 bits. A later one ends the query.
_LATEST_TIMESTAMP = (2**63 - 1) // 1000  # milliseconds


class UnreadableRecords:
    """The damaged batches and the records with a timestamp after `_LATEST_TIMESTAMP`. Each of them ends a query."""

    def __init__(self, settings: Settings, *, retry_interval: float = DAMAGE_RETRY_INTERVAL) -> None:
        """Reading a damaged batch is retried every `retry_interval` seconds."""
        self._settings = settings
        self._retry_interval = retry_interval
        self.must_search = False  # after a failure that an unreadable record may have caused
        self.damaged: dict[int, DamagedPartition] = {}
        self._damage_checked_at = 0.0

    def store_without_spark(
        self,
        info: TopicInfo,
        positions: Mapping[int, int],
        end_offsets: Mapping[int, int],
        *,
        scratch: Path,
        stop_event: threading.Event,
    ) -> Mapping[int, int]:
        """Store the records up to the last that Spark cannot read. Return the positions from which Spark can read.

        Raises Interrupted when `stop_event` is set, or if nothing is stored for the stall timeout.
        """
        if not self.must_search and not self.damaged:
            return positions
        readable_from = self._search(positions, end_offsets, stop_event)
        if readable_from:
            log.warning(
                "Records of %s have a timestamp that Spark cannot read. OrderFlow stores them without Spark: %s.",
                info.name,
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
            DirectEngine(self._settings).store(info, starts, readable_from, scratch, stop_event)
        self.must_search = False
        return {
            partition: readable_from.get(partition, position)
            for partition, position in positions.items()
            if partition not in self.damaged
        }

    def _search(
        self, positions: Mapping[int, int], end_offsets: Mapping[int, int], stop_event: threading.Event
    ) -> dict[int, int]:
        """Find the damaged batches. Return by partition the offset after the last record with a too late timestamp.

        Spark divides a micro-batch among the partitions by their backlogs. The search reads twice this partition's
        share, because more records may arrive before Spark plans. It uses librdkafka, which fails at the same batch,
        instead of parsing the text of Spark's exception.
        """
        self._damage_checked_at = time.monotonic()
        self.damaged = {}
        readable_from: dict[int, int] = {}

        def check_record(record: Record) -> None:
            if stop_event.is_set():
                raise Interrupted("A stop was requested.")
            if record.timestamp > _LATEST_TIMESTAMP:
                readable_from[record.partition] = record.offset + 1

        backlogs = {partition: max(0, end_offsets[partition] - position) for partition, position in positions.items()}
        limit, lag = self._settings.max_offsets_per_trigger, sum(backlogs.values())
        for partition, position in positions.items():
            backlog = backlogs[partition]
            end = position + min(backlog, limit, 2 * limit * backlog // max(1, lag) + 1)
            if position < end and (
                damage := topic.find_next_damage(self._settings, partition, position, end, check_record)
            ):
                error = topic.damaged_batch_error(self._settings, partition, damage.first, damage.reason)
                self.damaged[partition] = DamagedPartition(damage.position, error)
        return readable_from

    def probe_damaged_partitions(self) -> bool:
        """Try to read the damaged batches, if the last attempt is long ago. Return whether one can be read again."""
        if not self.damaged or time.monotonic() - self._damage_checked_at < self._retry_interval:
            return False
        self._damage_checked_at = time.monotonic()
        return any(
            topic.find_next_damage(self._settings, partition, damaged.offset, damaged.offset + 1) is None
            for partition, damaged in self.damaged.items()
        )
