"""The ledger: how far each partition is accounted for. It is the pipeline's only checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from orderflow.errors import OffsetsLost, TopicRecreated
from orderflow.settings import Settings
from orderflow.store import statements
from orderflow.store.connection import Connection


class Entry(NamedTuple):
    """A row of the ledger. Records from `first_offset` up to, without, `next_offset` are accounted for."""

    topic: str
    partition: int
    topic_id: str
    first_offset: int
    next_offset: int
    stored: int
    duplicates: int
    quarantined: int
    unknown_fields: int
    updated_at: datetime


def entries(connection: Connection) -> list[Entry]:
    """All rows, by topic and partition."""
    found = [Entry(*row) for row in connection.run("select_ledger").rows]
    connection.rollback()  # the next look must not see this one's snapshot
    return found


def open_partitions(
    connection: Connection, topic: str, topic_id: str, first_offsets: Mapping[int, int]
) -> dict[int, int]:
    """Partition to next offset; partitions the ledger does not know yet begin at their first offset.

    Raises TopicRecreated if the ledger knows another topic of this name, OffsetsLost if the topic begins after
    the position of one of its partitions.
    """
    for partition, first in first_offsets.items():
        connection.run("open_ledger", (topic, partition, topic_id, first, first))
    connection.commit()
    known = [entry for entry in entries(connection) if entry.topic == topic]
    for entry in known:
        check_topic_id(topic, topic_id, entry.topic_id)
    lost = [entry for entry in known if entry.next_offset < first_offsets.get(entry.partition, 0)]
    if lost:
        raise OffsetsLost(
            "Records are gone from the topic before they were stored: "
            + ", ".join(
                f"{topic} partition {entry.partition} offsets {entry.next_offset} to"
                f" {first_offsets[entry.partition] - 1}"
                for entry in lost
            )
            + ".",
            hint="Retention or a deletion removed them. Restore the topic, or give the table up with MYSQL_TABLE.",
        )
    return {entry.partition: entry.next_offset for entry in known}


def check_topic_id(topic: str, found: str, known: str) -> None:
    """Raise TopicRecreated unless the two are the same."""
    if found != known:
        raise TopicRecreated(
            f"Topic {topic} was deleted and made again: its id is {found}, the ledger knows {known}.",
            hint="Its offsets start anew. Point KAFKA_TOPIC at the topic of before, or MYSQL_TABLE at a new table.",
        )


def take_leadership(connection: Connection, settings: Settings, seconds: float) -> bool:
    """Become the one active sink of this table and topic, waiting so long for another one's session to end.

    The server frees the name when the session of its holder ends, however it ends.
    """
    tables = f"{settings.mysql_database}.{statements.table_names(settings)['ledger']}/{settings.kafka_topic}"
    name = "orderflow " + hashlib.sha256(tables.encode()).hexdigest()[:40]  # MySQL allows 64 characters
    return bool(connection.run("take_leadership", (name, seconds)).rows[0][0])


def totals(entries_: Sequence[Entry]) -> tuple[int, int, int]:
    """Stored, duplicates, quarantined over all partitions."""
    return (
        sum(entry.stored for entry in entries_),
        sum(entry.duplicates for entry in entries_),
        sum(entry.quarantined for entry in entries_),
    )
