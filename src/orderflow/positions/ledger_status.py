"""Compares the ledger with its topic: what is accounted for, and how many records wait in each partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from orderflow import topic
from orderflow.errors import OrderFlowError, TopicRecreated
from orderflow.settings import Settings
from orderflow.store import ledger
from orderflow.store.ledger import LedgerEntry
from orderflow.topic import Bounds, TopicInfo


class TopicBounds(NamedTuple):
    """A topic's id, and the readable offsets of each partition."""

    topic_id: str
    by_partition: Mapping[int, Bounds]


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One partition. `next_offset` is the ledger's; `end` and `lag` are None if they are unknown."""

    partition: int
    next_offset: int
    end: int | None
    lag: int | None


class LedgerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger at one moment. Counts are records since the ledger's start; `lag` is records not yet stored.

    `lag` is None if it is unknown; then `lag_unknown_because` is a sentence. `updated_at` is the time of the
    ledger's last update, in UTC.
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

    @property
    def records(self) -> int:
        """The number of records that the ledger has counted."""
        return self.stored + self.duplicates + self.quarantined


def read_topic_bounds(settings: Settings, topic_info: TopicInfo | None = None) -> TopicBounds:
    """Read the bounds of the topic that `topic_info` describes; without it, the topic is described first.

    Raises KafkaUnavailable, TopicMissing, TopicUnusable, KafkaRefused.
    """
    topic_info = topic_info or topic.describe(settings)
    return TopicBounds(topic_info.topic_id, topic.bounds(settings, topic_info.partitions))


def compare_ledger(
    name: str, entries: Sequence[LedgerEntry], topic_bounds: TopicBounds | OrderFlowError
) -> LedgerStatus:
    """Compare the ledger's entries of topic `name` with its bounds.

    `topic_bounds` is the error if the bounds could not be read.
    """
    entries = [entry for entry in entries if entry.topic == name]
    positions = {entry.partition: entry.next_offset for entry in entries}
    bounds: Mapping[int, Bounds] = {}
    if isinstance(topic_bounds, OrderFlowError):
        unknown_because: str | None = topic_bounds.message
    else:
        bounds, unknown_because = topic_bounds.by_partition, _describe_recreation(entries, topic_bounds.topic_id)
    partitions = []
    for partition in sorted(positions.keys() | bounds.keys()):
        # As in ledger.ensure_partitions: a new topic starts at its first offsets, an added partition at 0.
        start = positions.get(partition, 0 if positions else bounds[partition].first)
        end = bounds[partition].end if partition in bounds else None
        lag = None if end is None or unknown_because else max(0, end - start)
        partitions.append(PartitionStatus(partition=partition, next_offset=start, end=end, lag=lag))
    stored, duplicates, quarantined = ledger.totals(entries)
    return LedgerStatus(
        topic=name,
        stored=stored,
        duplicates=duplicates,
        quarantined=quarantined,
        unknown_fields=sum(entry.unknown_fields for entry in entries),
        lag=None if unknown_because else sum(partition_status.lag or 0 for partition_status in partitions),
        lag_unknown_because=unknown_because,
        partitions=tuple(partitions),
        updated_at=max((entry.updated_at.replace(tzinfo=UTC) for entry in entries), default=None),
    )


def _describe_recreation(entries: Sequence[LedgerEntry], topic_id: str) -> str | None:
    try:
        for entry in entries:
            ledger.check_topic_id(entry.topic, topic_id, entry.topic_id)
    except TopicRecreated as recreated:
        return recreated.message
    return None


OLDER_END_HINT = (
    "Repeat this command when the brokers have recovered. If the end stays, restore the topic, or start again with"
    " another MYSQL_TABLE."
)


def describe_older_end(name: str, partition: int, end: int, next_offset: int) -> str:
    """Return the sentence for a partition that ends before the ledger's position.

    A broker that restarts may briefly report an older end. A broker that lost records reports it permanently.
    """
    return (
        f"{name} partition {partition} ends at offset {end}, before the ledger's position {next_offset}: Kafka is"
        " recovering, or has lost records that are already stored."
    )
