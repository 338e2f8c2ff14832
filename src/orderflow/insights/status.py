"""The status of the pipeline: records stored, lag and the newest order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from orderflow import topic
from orderflow.errors import KafkaRefused, KafkaUnavailable, OrderFlowError, TopicMissing, TopicRecreated, TopicUnusable
from orderflow.settings import Settings
from orderflow.store import ledger, orders, reading
from orderflow.store.connection import Connection
from orderflow.topic import Bounds


class TopicExtent(NamedTuple):
    """The topic's id, and the bounds of each partition."""

    topic_id: str
    bounds: Mapping[int, Bounds]


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One partition. `next_offset` is the ledger's; `end` and `lag` are None if they are unknown."""

    partition: int
    next_offset: int
    end: int | None
    lag: int | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The status at one moment. Counts are records since the ledger's start; `lag` is records not yet stored.

    `lag` is None if it is unknown; then `lag_unknown_because` is a sentence. `updated_at` is the time of the
    ledger's last update, in UTC. `open_by_reason` counts the quarantine's open records, the most frequent reason first;
    None if they were not read.
    """

    topic: str
    stored: int
    duplicates: int
    quarantined: int
    unknown_fields: int
    lag: int | None
    lag_unknown_because: str | None
    partitions: tuple[PartitionStatus, ...]
    updated_at: datetime | None
    newest_order: str | None
    newest_age_seconds: float | None
    open_by_reason: dict[str, int] | None = None

    def describe_newest(self) -> str | None:
        """The newest order and its age; None without orders."""
        if self.newest_order is None or self.newest_age_seconds is None:
            return None
        seconds = self.newest_age_seconds
        age = f"{abs(seconds):,.0f} s " + ("old" if seconds > -0.5 else "in the future")
        return f"{self.newest_order}, {age}"


def read(connection: Connection, settings: Settings) -> Status:
    """Read the status from ledger, tables and topic. Values that need Kafka are None if it cannot be read.

    Raises the errors of the connection.
    """
    extent: TopicExtent | OrderFlowError
    try:
        extent = read_extent(settings)
    except (KafkaUnavailable, KafkaRefused, TopicMissing, TopicUnusable) as error:
        extent = error
    entries = ledger.entries(connection)
    return combine(settings, entries, extent, orders.newest(connection), reading.open_by_reason(connection))


def read_extent(settings: Settings) -> TopicExtent:
    """Raises KafkaUnavailable, TopicMissing, TopicUnusable, KafkaRefused."""
    info = topic.describe(settings)
    return TopicExtent(info.topic_id, topic.bounds(settings, info.partitions))


def combine(
    settings: Settings,
    entries: Sequence[ledger.LedgerEntry],
    extent: TopicExtent | OrderFlowError,
    newest: tuple[str, datetime] | None,
    open_by_reason: dict[str, int] | None = None,
) -> Status:
    """Build the status.

    `extent` is the topic's, or the error because of which it is unknown. `newest` is an order_id and order_timestamp.
    """
    entries_of_topic = [entry for entry in entries if entry.topic == settings.kafka_topic]
    positions = {entry.partition: entry.next_offset for entry in entries_of_topic}
    bounds: Mapping[int, Bounds] = {}
    if isinstance(extent, OrderFlowError):
        unknown_because: str | None = extent.message
    else:
        bounds, unknown_because = extent.bounds, _describe_recreation(entries_of_topic, extent)
    partitions = []
    for partition in sorted(positions.keys() | bounds.keys()):
        # As in ledger.ensure_partitions: a new topic starts at its first offsets, an added partition at 0.
        start = positions.get(partition, 0 if positions else bounds[partition].first)
        end = bounds[partition].end if partition in bounds else None
        lag = None if end is None or unknown_because else max(0, end - start)
        partitions.append(PartitionStatus(partition=partition, next_offset=start, end=end, lag=lag))
    stored, duplicates, quarantined = ledger.totals(entries_of_topic)
    return Status(
        topic=settings.kafka_topic,
        stored=stored,
        duplicates=duplicates,
        quarantined=quarantined,
        unknown_fields=sum(entry.unknown_fields for entry in entries_of_topic),
        lag=None if unknown_because else sum(partition_status.lag or 0 for partition_status in partitions),
        lag_unknown_because=unknown_because,
        partitions=tuple(partitions),
        updated_at=max((entry.updated_at.replace(tzinfo=UTC) for entry in entries_of_topic), default=None),
        newest_order=newest[0] if newest else None,
        newest_age_seconds=_age_seconds(newest[1]) if newest else None,
        open_by_reason=open_by_reason,
    )


def _describe_recreation(entries: Sequence[ledger.LedgerEntry], extent: TopicExtent) -> str | None:
    try:
        for entry in entries:
            ledger.check_topic_id(entry.topic, extent.topic_id, entry.topic_id)
    except TopicRecreated as recreated:
        return recreated.message
    return None


def _age_seconds(moment: datetime) -> float:
    return (datetime.now(UTC) - moment.replace(tzinfo=UTC)).total_seconds()
