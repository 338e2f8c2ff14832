"""Checks of a sink's start: whether the topic still is what the ledger accounts for."""

from __future__ import annotations

from collections.abc import Mapping

from orderflow import topic
from orderflow.errors import OffsetsReused, TopicMissing
from orderflow.kafka_topic_reader import KafkaTopicReader
from orderflow.settings import Settings
from orderflow.store import ledger
from orderflow.store.connection import Connection
from orderflow.store.ledger import LastRecord


def check_not_deleted(settings: Settings, connection: Connection, missing: TopicMissing) -> None:
    """Raise TopicMissing with another hint if the ledger has positions in the missing topic: it must not be created."""
    if settings.kafka_topic in {entry.topic for entry in ledger.entries(connection)}:
        raise TopicMissing(
            f"{missing.message[:-1]}, although the ledger has positions in it.",
            hint="It was deleted, or KAFKA_BOOTSTRAP_SERVERS names another cluster. To store a new topic, set another"
            " MYSQL_TABLE.",
        ) from missing


def check_accounted_offsets(settings: Settings, connection: Connection, first_offsets: Mapping[int, int]) -> None:
    """Check that Kafka has no other records at the last offsets of each partition that the ledger accounts for.

    If Kafka lost the end of a partition, producers may fill the lost offsets again. The sink would start after them and
    never store the new records. This check detects that: the last record must be the one that was stored, and the
    offsets after it must still hold no record.

    A record that is gone or cannot be read now proves nothing, so it is accepted. The tables are not compared, because
    rows may have been archived.

    Raises OffsetsReused.
    Raises KafkaUnavailable or RestartRequired if the answer is not known now.
    """
    last_records = ledger.last_records(connection, settings.kafka_topic)
    _check_last_records(settings, last_records, first_offsets)
    _check_empty_ends(settings, connection, last_records, first_offsets)


def _check_last_records(
    settings: Settings, last_records: Mapping[int, LastRecord], first_offsets: Mapping[int, int]
) -> None:
    """Check that the last stored record of each partition is still the one at its offset."""
    stored = {
        partition: last
        for partition, last in last_records.items()
        if partition in first_offsets and last.offset >= first_offsets[partition]
    }
    if not stored:  # a first start needs no client
        return
    in_topic = topic.records_at(settings, {partition: last.offset for partition, last in stored.items()})
    for partition, record in in_topic.items():
        if ledger.fingerprint(record.timestamp, record.key) != stored[partition].fingerprint:
            raise _offsets_reused_error(
                f"{settings.kafka_topic} partition {partition} has another record at offset {record.offset} than the"
                " one that was stored"
            )


def _check_empty_ends(
    settings: Settings,
    connection: Connection,
    last_records: Mapping[int, LastRecord],
    first_offsets: Mapping[int, int],
) -> None:
    """Check that the accounted offsets after each partition's last record still hold no record."""
    losses = ledger.losses(connection)
    for entry in ledger.entries(connection, settings.kafka_topic):
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
        for first, end in ledger.without_losses(start, entry.next_offset, of_partition):
            if KafkaTopicReader(settings, entry.topic_id).holds_records(entry.partition, first, end):
                raise _offsets_reused_error(
                    f"{settings.kafka_topic} partition {entry.partition} has records at offsets {first} to {end - 1},"
                    " which held none before"
                )


def _offsets_reused_error(finding: str) -> OffsetsReused:
    return OffsetsReused(
        f"{finding}: Kafka has lost the end of the partition, and new records have its offsets.",
        hint="Restore the partition in Kafka. Otherwise set another MYSQL_TABLE, which gets everything that the topic"
        " has now. `orderflow audit` lists the records that are missing in the present tables, and the orders that"
        " exist only there.",
    )
