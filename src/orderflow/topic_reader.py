"""The interface through which the store reads the topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from orderflow import topic
from orderflow.errors import BatchBroken, OffsetsLost, OffsetsReused, RestartRequired, TopicMissing
from orderflow.settings import Settings
from orderflow.store import ledger
from orderflow.store.connection import Connection


class KafkaTopicReader(NamedTuple):
    """The topic's data for the store. It can be pickled, so Spark sends it to the workers."""

    settings: Settings
    topic_id: str

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.settings.kafka_topic

    def first_offset(self, partition: int) -> int:
        """The first offset that the partition still holds."""
        return topic.bounds(self.settings, [partition])[partition].first

    def holds_records(self, partition: int, start: int, end: int) -> bool:
        """Whether a committed record can be read with `start` <= offset < `end`."""
        try:
            return topic.holds_records(self.settings, partition, start, end)
        except (OffsetsLost, BatchBroken) as lost:
            raise RestartRequired(lost.message) from lost  # the next start finds and reports everything that is lost

    def request_identity_check(self) -> Callable[[], None]:
        """Request the topic's identity from Kafka. The returned function waits for the answer.

        If the topic still has the same id now, it also had it when the batch was read. Otherwise the returned function
        raises TopicRecreated or TopicMissing.
        """
        wait = topic.request_description(self.settings)
        return lambda: ledger.check_topic_id(self.topic, wait().topic_id, self.topic_id)


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

    The last record must be the one that was stored, and the offsets after it must still hold no record. Without this
    check, a partition that lost its end and received other records since would be read from the ledger's position, and
    the new records before it would never be stored. A record that is gone or cannot be read now proves nothing, so it
    is accepted. The tables are not compared, because rows may have been archived.

    Raises OffsetsReused, and KafkaUnavailable or RestartRequired if the answer is not known now.
    """
    name, last_records = settings.kafka_topic, ledger.last_records(connection, settings.kafka_topic)
    stored = {
        part: last
        for part, last in last_records.items()
        if part in first_offsets and last.offset >= first_offsets[part]
    }
    # A first start needs no client for this.
    in_topic = topic.records_at(settings, {part: last.offset for part, last in stored.items()}) if stored else {}
    for part, record in in_topic.items():
        if ledger.fingerprint(record.timestamp, record.key) != stored[part].fingerprint:
            raise _offsets_reused_error(
                f"{name} partition {part} has another record at offset {record.offset} than the one that was stored"
            )
    losses = ledger.losses(connection)
    for entry in ledger.entries(connection, name):
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
                    f"{name} partition {entry.partition} has records at offsets {first} to {end - 1}, which held none"
                    " before"
                )


def _offsets_reused_error(finding: str) -> OffsetsReused:
    return OffsetsReused(
        f"{finding}: Kafka has lost the end of the partition, and new records have its offsets.",
        hint="Restore the partition in Kafka. Otherwise set another MYSQL_TABLE, which gets everything that the topic"
        " has now. `orderflow audit` lists the records that are missing in the present tables, and the orders that"
        " exist only there.",
    )
