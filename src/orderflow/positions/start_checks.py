"""The start of a sink or a query: its positions, and whether the topic still is what the ledger accounts for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from orderflow import topic
from orderflow.errors import BatchDamaged, OffsetsLost, OffsetsReused, TopicMissing
from orderflow.settings import Settings
from orderflow.store import ledger
from orderflow.store.connection import Connection
from orderflow.store.ledger import LastRecord
from orderflow.topic import TopicInfo


def check_not_deleted(settings: Settings, connection: Connection, missing: TopicMissing) -> None:
    """Raise TopicMissing with another hint if the ledger has positions in the missing topic: it must not be created."""
    if settings.kafka_topic in {entry.topic for entry in ledger.read_entries(connection)}:
        raise TopicMissing(
            f"{missing.message[:-1]}, although the ledger has positions in it.",
            hint="It was deleted, or KAFKA_BOOTSTRAP_SERVERS names another cluster. To store a new topic, set another"
            " MYSQL_TABLE.",
        ) from missing


def describe_topic(settings: Settings, connection: Connection) -> TopicInfo:
    """Return the topic.

    Raises TopicMissing (with another hint if the ledger has positions in it), TopicUnusable, KafkaUnavailable,
    KafkaRefused.
    """
    try:
        return topic.describe(settings)
    except TopicMissing as missing:
        check_not_deleted(settings, connection, missing)
        raise


def get_or_create_topic(settings: Settings, connection: Connection) -> TopicInfo:
    """Return the topic. Create it if it is missing, the brokers allow it, and the ledger has no positions in it.

    Raises TopicMissing, TopicUnusable, KafkaUnavailable, KafkaRefused.
    """
    try:
        return topic.describe(settings)
    except TopicMissing as missing:
        check_not_deleted(settings, connection, missing)
        return topic.get_or_create(settings)


class AccountedOffsets(NamedTuple):
    """For each partition, its last stored record and the empty offsets after it, without those that were removed.

    `empty_ranges` are partition, first offset and end of the ranges that held no record.
    """

    last_records: Mapping[int, LastRecord]
    empty_ranges: Sequence[tuple[int, int, int]]


class LedgerStart(NamedTuple):
    """The topic, the ledger's next offset by partition, and what `check_accounted_offsets` compares.

    `cleanup_policy` is the topic's; None if the user may not read it.
    """

    topic_info: TopicInfo
    cleanup_policy: str | None
    positions: dict[int, int]
    accounted: AccountedOffsets


def prepare_start(settings: Settings, connection: Connection) -> LedgerStart:
    """Create a missing topic and missing rows of the ledger, and return where to start.

    The caller calls `check_accounted_offsets` before it starts to store.

    Raises what `get_or_create_topic` and `ledger.ensure_partitions` raise.
    """
    topic_info = get_or_create_topic(settings, connection)
    cleanup_policy = topic.check_cleanup_policy(settings)
    all_bounds = topic.bounds(settings, topic_info.partitions)
    first_offsets = {partition: bounds.first for partition, bounds in all_bounds.items()}
    positions = ledger.ensure_partitions(connection, topic_info.name, topic_info.topic_id, first_offsets)
    accounted = accounted_offsets(settings, connection, first_offsets)
    return LedgerStart(topic_info, cleanup_policy, positions, accounted)


def accounted_offsets(settings: Settings, connection: Connection, first_offsets: Mapping[int, int]) -> AccountedOffsets:
    """Read them from the ledger. `first_offsets` are the topic's."""
    name = settings.kafka_topic
    last_records, losses = ledger.read_last_records(connection, name), ledger.read_losses(connection)
    empty_ranges: list[tuple[int, int, int]] = []
    for entry in ledger.read_entries(connection, name):
        if entry.partition not in first_offsets:
            continue
        if entry.partition in last_records:
            start = last_records[entry.partition].offset + 1
        elif entry.stored or entry.duplicates or entry.quarantined:
            continue  # only an earlier version has written to this partition
        else:
            start = entry.first_offset
        start = max(start, first_offsets[entry.partition])
        of_partition = [loss for loss in losses if (loss.topic_id, loss.partition) == (entry.topic_id, entry.partition)]
        ranges = ledger.without_losses(start, entry.next_offset, of_partition)
        empty_ranges += [(entry.partition, first, end) for first, end in ranges]
    in_topic = {
        partition: last
        for partition, last in last_records.items()
        if partition in first_offsets and last.offset >= first_offsets[partition]
    }
    return AccountedOffsets(in_topic, empty_ranges)


def check_accounted_offsets(settings: Settings, accounted: AccountedOffsets) -> None:
    """Check that Kafka has no other records at these offsets.

    If Kafka lost the end of a partition, producers may fill the lost offsets again. The sink would start after them and
    never store the new records. This check detects that: the last record must be the one that was stored, and the
    offsets after it must still hold no record.

    A record that is gone or damaged proves nothing, so it is accepted. The tables are not compared, because rows may
    have been archived.

    Raises OffsetsReused, and KafkaUnavailable if the answer is not known now.
    """
    name, last_records = settings.kafka_topic, accounted.last_records
    # A first start needs no client.
    wanted = {partition: last.offset for partition, last in last_records.items()}
    for partition, record in (topic.records_at(settings, wanted) if wanted else {}).items():
        if ledger.hash_record(record.timestamp, record.key) != last_records[partition].hash:
            raise _offsets_reused_error(
                f"{name} partition {partition} has another record at offset {record.offset} than the one that was"
                " stored"
            )
    for partition, first, end in accounted.empty_ranges:
        with suppress(OffsetsLost, BatchDamaged):
            if topic.holds_records(settings, partition, first, end):
                raise _offsets_reused_error(
                    f"{name} partition {partition} has records at offsets {first} to {end - 1}, which held none before"
                )


def _offsets_reused_error(finding: str) -> OffsetsReused:
    return OffsetsReused(
        f"{finding}: Kafka has lost the end of the partition, and new records have its offsets.",
        hint="Restore the partition in Kafka. Otherwise set another MYSQL_TABLE, which gets everything that the topic"
        " has now. `orderflow audit` lists the records that are missing in the present tables, and the orders that"
        " exist only there.",
    )
