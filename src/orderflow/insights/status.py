"""How the flow stands: what is stored, what waits, and the newest order."""

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
    """One partition. Offsets as in the ledger; `end` and `lag` are None where Kafka does not answer."""

    partition: int
    next_offset: int
    end: int | None
    lag: int | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The flow at one moment. Counts are records since the ledger began; `lag` is records not yet stored.

    `accounted_at` is when the ledger last moved, in UTC. `open_by_reason` counts the quarantine's open records,
    the most frequent reason first; None where it was not asked.
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


def read(connection: Connection, settings: Settings) -> Status:
    """Ask ledger, tables and topic.

    Raises the connection's errors; Kafka's absence shows as None.
    """
    try:
        found = ends(settings)
    except (KafkaUnavailable, TopicMissing):
        found = {}
    entries = ledger.entries(connection)
    return combine(settings, entries, found, orders.newest(connection), reading.open_by_reason(connection))


def ends(settings: Settings) -> dict[int, int]:
    """Partition to the offset that the topic's next record gets.

    Raises KafkaUnavailable, TopicMissing, KafkaRefused.
    """
    partitions = topic.describe(settings).partitions
    return {part: bounds.end for part, bounds in topic.bounds(settings, partitions).items()}


def combine(
    settings: Settings,
    entries: Sequence[ledger.Entry],
    ends: Mapping[int, int],
    newest: tuple[str, datetime] | None,
    open_by_reason: dict[str, int] | None = None,
) -> Status:
    """The status that ledger, topic (empty where it is not known), the newest order and the quarantine make."""
    own = [entry for entry in entries if entry.topic == settings.kafka_topic]
    positions = {entry.partition: entry.next_offset for entry in own}
    parts = tuple(
        PartitionStatus(
            partition=part,
            next_offset=positions.get(part, 0),
            end=ends.get(part),
            lag=max(0, ends[part] - positions.get(part, 0)) if part in ends else None,
        )
        for part in sorted(positions.keys() | ends.keys())
    )
    stored, duplicates, quarantined = ledger.totals(own)
    return Status(
        topic=settings.kafka_topic,
        stored=stored,
        duplicates=duplicates,
        quarantined=quarantined,
        unknown_fields=sum(entry.unknown_fields for entry in own),
        lag=sum(part.lag or 0 for part in parts) if ends else None,
        partitions=parts,
        accounted_at=max((entry.updated_at.replace(tzinfo=UTC) for entry in own), default=None),
        newest_order=newest[0] if newest else None,
        newest_age_seconds=_age(newest[1]) if newest else None,
        open_by_reason=open_by_reason,
    )


def _age(moment: datetime) -> float:
    return (datetime.now(UTC) - moment.replace(tzinfo=UTC)).total_seconds()
