"""What an audit compares: the partitions of the ledger, and the offsets that their topics still have."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from orderflow import topic
from orderflow.audit.partition import AuditedPartition
from orderflow.errors import OffsetsLost, TopicMissing, TopicRecreated
from orderflow.positions.ledger_status import OLDER_END_HINT, describe_older_end
from orderflow.positions.start_checks import describe_topic
from orderflow.settings import Settings
from orderflow.store import snapshot
from orderflow.store.connection import Connection
from orderflow.store.ledger import LedgerEntry, Loss, check_topic_id, read_losses
from orderflow.topic import Bounds, TopicInfo

_END_INTERVAL = 0.5  # seconds between two reads of an end that is before the ledger's position


class Scope(NamedTuple):
    """The partitions, topics and accepted losses of an audit."""

    topic: TopicInfo  # KAFKA_TOPIC
    topics_gone: Sequence[str]  # topics of the ledger that do not exist any more
    bounds: Mapping[tuple[str, int], Bounds]  # by topic and partition, of KAFKA_TOPIC and the ledger
    partitions: Sequence[AuditedPartition]  # all partitions of the ledger
    # The orders table has no topic column: partitions of the same number in several topics share coordinates.
    by_number: Mapping[int, Sequence[AuditedPartition]]
    losses: Sequence[Loss]
    unknown_losses: Sequence[Loss]  # losses in partitions that the ledger does not have

    @property
    def removed_offsets(self) -> int:
        """The number of accounted offsets that can no longer be re-read, without the accepted losses."""
        return sum(partition.removed_count for partition in self.partitions)

    @property
    def not_yet_stored(self) -> int:
        """The number of offsets of KAFKA_TOPIC beyond the ledger's position."""
        next_offsets = {
            (partition.entry.topic, partition.entry.partition): partition.entry.next_offset
            for partition in self.partitions
        }
        return sum(
            max(0, end - next_offsets.get((topic_name, number), first))
            for (topic_name, number), (first, end) in self.bounds.items()
            if topic_name == self.topic.name
        )


def find_scope(settings: Settings, connection: Connection, end_timeout: float) -> Scope:
    """Return the ledger's partitions, and the offsets that their topics still have.

    Raises TopicMissing, TopicRecreated, and OffsetsLost if a partition still ends before the ledger's position after
    `end_timeout` seconds.
    """
    entries = snapshot.read_ledger(connection)  # before the topic's bounds, because these only grow
    topic_info = describe_topic(settings, connection)
    bounds, topics_gone = _wait_for_ends(settings, topic_info, entries, end_timeout)
    all_losses = read_losses(connection)
    accepted: defaultdict[tuple[str, int], list[Loss]] = defaultdict(list)
    for loss in all_losses:
        accepted[loss.topic, loss.partition].append(loss)
    control_values = snapshot.read_control_values(connection)
    partitions = [
        AuditedPartition(entry, bounds[key], accepted.pop(key, ()), control_values[key])
        for entry in entries
        for key in [(entry.topic, entry.partition)]
    ]
    by_number: defaultdict[int, list[AuditedPartition]] = defaultdict(list)
    for partition in partitions:
        by_number[partition.entry.partition].append(partition)
    for partition in partitions:
        partition.peers = [peer for peer in by_number[partition.entry.partition] if peer is not partition]
    unknown_losses = [loss for unmatched in accepted.values() for loss in unmatched]
    return Scope(topic_info, topics_gone, bounds, partitions, by_number, all_losses, unknown_losses)


def _wait_for_ends(
    settings: Settings, topic_info: TopicInfo, entries: Sequence[LedgerEntry], timeout: float
) -> tuple[dict[tuple[str, int], Bounds], list[str]]:
    """Wait until each partition ends at the ledger's position or later. Return what `_find_bounds` returns.

    A broker that restarts may briefly report an older end.
    """
    deadline = time.monotonic() + timeout
    while True:
        all_bounds, missing_topics = _find_bounds(settings, topic_info, entries)
        ends = {entry: all_bounds.setdefault((entry.topic, entry.partition), Bounds(0, 0)).end for entry in entries}
        early = next((entry for entry, end in ends.items() if end < entry.next_offset), None)
        if early is None:
            return all_bounds, missing_topics
        if time.monotonic() >= deadline:
            raise OffsetsLost(
                describe_older_end(early.topic, early.partition, ends[early], early.next_offset),
                hint=OLDER_END_HINT,
            )
        time.sleep(_END_INTERVAL)


def _find_bounds(
    settings: Settings, topic_info: TopicInfo, entries: Iterable[LedgerEntry]
) -> tuple[dict[tuple[str, int], Bounds], list[str]]:
    """Return the readable bounds of KAFKA_TOPIC's and the ledger's partitions, and the topics that no longer exist."""
    all_bounds = {
        (topic_info.name, number): bound for number, bound in topic.bounds(settings, topic_info.partitions).items()
    }
    missing_topics: list[str] = []
    for name, group in groupby(entries, lambda entry: entry.topic):
        topic_entries = list(group)
        if name == settings.kafka_topic:
            for entry in topic_entries:
                check_topic_id(name, topic_info.topic_id, entry.topic_id)
        elif (earlier := _bounds_of_earlier_topic(with_topic(settings, name), topic_entries)) is None:
            missing_topics.append(name)
            all_bounds |= {
                (name, entry.partition): Bounds(entry.next_offset, entry.next_offset) for entry in topic_entries
            }
        else:
            all_bounds |= earlier
    return all_bounds, missing_topics


def _bounds_of_earlier_topic(
    settings: Settings, entries: Sequence[LedgerEntry]
) -> dict[tuple[str, int], Bounds] | None:
    """Return the readable bounds of an earlier topic of this table; None if that topic no longer exists."""
    try:
        check_topic_id(settings.kafka_topic, topic.describe(settings).topic_id, entries[0].topic_id)
    except (TopicMissing, TopicRecreated):
        return None
    bounds = topic.bounds(settings, [entry.partition for entry in entries])
    return {(settings.kafka_topic, number): bound for number, bound in bounds.items()}


def with_topic(settings: Settings, name: str) -> Settings:
    """Return the settings with this topic as KAFKA_TOPIC: the ledger may also have earlier topics."""
    return msgspec.structs.replace(settings, kafka_topic=name)


def first_offset(settings: Settings, partition: int) -> int:
    """Return the first offset that this partition of KAFKA_TOPIC has now."""
    return topic.bounds(settings, [partition])[partition].first
