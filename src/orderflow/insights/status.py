"""The status of the pipeline: records stored, lag and the newest order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from orderflow import topic
from orderflow.errors import KafkaUnavailable, TopicMissing
from orderflow.settings import Settings
from orderflow.store import ledger, orders, reading
from orderflow.store.connection import Connection


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One partition. `next_offset` is the ledger's; `end` and `lag` are None if Kafka is unavailable."""

    partition: int
    next_offset: int
    end: int | None
    lag: int | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The status at one moment. Counts are records since the ledger's start; `lag` is records not yet stored.

    `accounted_at` is when the ledger was last updated, in UTC. `open_by_reason` counts the quarantine's open records,
    the most frequent reason first; None if they were not read.
    """

    topic: str
    stored: int
    duplicates: int
    quarantined: int
    unknown_fields: int
    lag: int | None
    partitions: tuple[PartitionStatus, ...]
    accounted_at: datetime | None
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
    """Read the status from ledger, tables and topic. Values that need Kafka are None if it is unavailable.

    Raises KafkaRefused, and the errors of the connection.
    """
    try:
        end_offsets = read_end_offsets(settings)
    except (KafkaUnavailable, TopicMissing):
        end_offsets = {}
    entries = ledger.entries(connection)
    return combine(settings, entries, end_offsets, orders.newest(connection), reading.open_by_reason(connection))


def read_end_offsets(settings: Settings) -> dict[int, int]:
    """The end offset of each partition: the offset of its next record.

    Raises KafkaUnavailable, TopicMissing, KafkaRefused.
    """
    partitions = topic.describe(settings).partitions
    return {part: bounds.end for part, bounds in topic.bounds(settings, partitions).items()}


def combine(
    settings: Settings,
    entries: Sequence[ledger.LedgerEntry],
    end_offsets: Mapping[int, int],
    newest: tuple[str, datetime] | None,
    open_by_reason: dict[str, int] | None = None,
) -> Status:
    """Build the status. `end_offsets` is empty if Kafka is unavailable; `newest` is an order_id and order_timestamp."""
    entries_of_topic = [entry for entry in entries if entry.topic == settings.kafka_topic]
    positions = {entry.partition: entry.next_offset for entry in entries_of_topic}
    parts = tuple(
        PartitionStatus(
            partition=part,
            next_offset=positions.get(part, 0),
            end=end_offsets.get(part),
            lag=max(0, end_offsets[part] - positions.get(part, 0)) if part in end_offsets else None,
        )
        for part in sorted(positions.keys() | end_offsets.keys())
    )
    stored, duplicates, quarantined = ledger.totals(entries_of_topic)
    return Status(
        topic=settings.kafka_topic,
        stored=stored,
        duplicates=duplicates,
        quarantined=quarantined,
        unknown_fields=sum(entry.unknown_fields for entry in entries_of_topic),
        lag=sum(part.lag or 0 for part in parts) if end_offsets else None,
        partitions=parts,
        accounted_at=max((entry.updated_at.replace(tzinfo=UTC) for entry in entries_of_topic), default=None),
        newest_order=newest[0] if newest else None,
        newest_age_seconds=_age_seconds(newest[1]) if newest else None,
        open_by_reason=open_by_reason,
    )


def _age_seconds(moment: datetime) -> float:
    return (datetime.now(UTC) - moment.replace(tzinfo=UTC)).total_seconds()
