"""Stores what Spark's Kafka source cannot read past: records before damage, and records with a too late timestamp."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orderflow import topic
from orderflow.errors import Interrupted
from orderflow.pipeline.direct import DirectEngine
from orderflow.pipeline.engine import DAMAGE_RETRY_INTERVAL, DamagedPartition
from orderflow.settings import Settings
from orderflow.spark import read_records, write_orders
from orderflow.spark.failures import translate_errors
from orderflow.spark.options import offsets_json
from orderflow.topic import Record, TopicInfo

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

# Spark's source converts a record's timestamp to microseconds in 64 bits. A later one ends the query.
_LATEST_TIMESTAMP = (2**63 - 1) // 1000  # milliseconds


class UnreadableRecords:
    """The damaged batches and the records with a timestamp after `_LATEST_TIMESTAMP`. Each of them ends a query."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.must_search = False  # after a failure that an unreadable record may have caused
        self.damaged: dict[int, DamagedPartition] = {}
        self._damage_checked_at = 0.0

    def store_without_spark(
        self,
        spark: SparkSession,
        info: TopicInfo,
        positions: Mapping[int, int],
        end_offsets: Mapping[int, int],
        *,
        scratch: Path,
        stop_event: threading.Event,
    ) -> Mapping[int, int]:
        """Return the positions from which Spark can read. Store the records before them in another way.

        Raises Interrupted when `stop_event` is set.
        """
        if not self.must_search and not self.damaged:
            return positions
        readable_from = self._search(positions, end_offsets, stop_event)
        if readable_from:
            log.warning(
                "Records of %s have a timestamp that Spark cannot read. OrderFlow stores them without Spark: %s.",
                info.name,
                ", ".join(f"partition {part} up to offset {offset - 1}" for part, offset in readable_from.items()),
            )
            starts = {part: positions[part] for part in readable_from}
            DirectEngine(self._settings).store(info, starts, readable_from, scratch, stop_event)
        self.must_search = False
        positions = {**positions, **readable_from}
        self._store_before_damage(spark, info, positions, scratch)
        return {partition: offset for partition, offset in positions.items() if partition not in self.damaged}

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

        backlogs = {part: max(0, end_offsets[part] - position) for part, position in positions.items()}
        limit, lag = self._settings.max_offsets_per_trigger, sum(backlogs.values())
        for part, position in positions.items():
            end = position + min(backlogs[part], limit, 2 * limit * backlogs[part] // max(1, lag) + 1)
            if position < end and (damage := topic.find_next_damage(self._settings, part, position, end, check_record)):
                error = topic.damaged_batch_error(self._settings, part, damage.first, damage.reason)
                self.damaged[part] = DamagedPartition(damage.position, error)
        return readable_from

    def _store_before_damage(
        self, spark: SparkSession, info: TopicInfo, positions: Mapping[int, int], scratch: Path
    ) -> None:
        for partition, damaged in self.damaged.items():
            if positions[partition] < damaged.offset:
                bounds = positions[partition], damaged.offset
                starting, ending = (offsets_json(info.name, {partition: offset}) for offset in bounds)
                options = {"assign": json.dumps({info.name: [partition]}), "endingOffsets": ending}
                with translate_errors():
                    records = read_records(spark, self._settings, streaming=False, startingOffsets=starting, **options)
                    write_orders(records, self._settings, scratch=scratch, is_whole_topic=True).save()

    def probe_damaged_partitions(self) -> bool:
        """Try to read the damaged batches, twice a minute. Return whether one can be read again."""
        if not self.damaged or time.monotonic() - self._damage_checked_at < DAMAGE_RETRY_INTERVAL:
            return False
        self._damage_checked_at = time.monotonic()
        return any(
            topic.find_next_damage(self._settings, partition, damaged.offset, damaged.offset + 1) is None
            for partition, damaged in self.damaged.items()
        )
