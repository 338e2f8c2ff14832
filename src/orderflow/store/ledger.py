"""The ledger: how far each partition is accounted for. It is the pipeline's only checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from orderflow.errors import OffsetsLost, TopicRecreated
from orderflow.settings import Settings
from orderflow.store import statements
from orderflow.store.connection import Connection


class Entry(NamedTuple):
    """A row of the ledger. Records from `first_offset` up to, without, `next_offset` are accounted for.

    Each is stored, a duplicate, in the quarantine, or lay in a loss that was accepted. The counters only grow:
    `quarantined` counts the records that ever were, and one that is replayed counts as stored or duplicate as well.
    """

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


class Loss(NamedTuple):
    """Offsets from `first_offset` up to, without, `end_offset` that left the topic unread.

    Until somebody accepts it, `accepted_at` and `accepted_by` are None.
    """

    topic: str
    topic_id: str
    partition: int
    first_offset: int
    end_offset: int
    accepted_at: datetime | None = None  # UTC, naive, as the server gives it
    accepted_by: str | None = None


class Locked(NamedTuple):
    """A partition's position, which nobody else can move until the transaction ends; `now` is the server's UTC."""

    next_offset: int
    topic_id: str
    now: datetime


class Advance(NamedTuple):
    """A partition's new position, and what is added to its counters."""

    next_offset: int
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    unknown_fields: int = 0


def lock(connection: Connection, topic: str, partitions: Collection[int]) -> dict[int, Locked]:
    """Lock these partitions, in ascending order as everybody does; gives back those that the ledger knows."""
    rows = connection.run("lock_ledger", (topic, *partitions), partitions=statements.marks(partitions)).rows
    return {partition: Locked(*found) for partition, *found in rows}


def advance(connection: Connection, topic: str, topic_id: str, now: datetime, moves: Mapping[int, Advance]) -> None:
    """Move partitions that are locked; `now` is the server's UTC."""
    rows = [(topic, partition, topic_id, move.next_offset, *move, now) for partition, move in moves.items()]
    connection.run_rows("advance_ledger", rows)


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
    if lost := find_losses(connection, topic, topic_id, first_offsets):
        raise OffsetsLost(
            "Records are gone from the topic before they were stored: "
            + ", ".join(
                f"{topic} partition {loss.partition} offsets {loss.first_offset} to {loss.end_offset - 1}"
                for loss in lost
            )
            + ".",
            hint="Retention or a deletion removed them. Restore the topic; or `orderflow accept-loss` records them as"
            " lost, and the sink goes on after them.",
        )
    return {entry.partition: entry.next_offset for entry in entries(connection) if entry.topic == topic}


def find_losses(connection: Connection, topic: str, topic_id: str, first_offsets: Mapping[int, int]) -> list[Loss]:
    """What left the topic before it was accounted for: the partitions that begin after the ledger's position.

    Raises TopicRecreated if the ledger knows another topic of this name.
    """
    known = [entry for entry in entries(connection) if entry.topic == topic]
    for entry in known:
        check_topic_id(topic, topic_id, entry.topic_id)
    return [
        Loss(topic, topic_id, entry.partition, entry.next_offset, first_offsets[entry.partition])
        for entry in known
        if entry.next_offset < first_offsets.get(entry.partition, 0)
    ]


def accept_losses(
    connection: Connection, topic: str, topic_id: str, first_offsets: Mapping[int, int], by: str
) -> list[Loss]:
    """Record what is lost and move the positions behind it, in one transaction; gives back what was recorded.

    Raises TopicRecreated, and the connection's errors; nothing has changed then, unless a COMMIT's reply was lost.
    """
    accepted: list[Loss] = []
    for partition, (next_offset, known_id, now) in lock(connection, topic, first_offsets).items():
        check_topic_id(topic, topic_id, known_id)
        if next_offset < (end := first_offsets[partition]):
            loss = Loss(topic, topic_id, partition, next_offset, end, now, by)
            connection.run("insert_loss", loss)
            advance(connection, topic, topic_id, now, {partition: Advance(end)})
            accepted.append(loss)
    connection.commit()
    return accepted


def losses(connection: Connection) -> list[Loss]:
    """All that were accepted, by topic, partition and offset."""
    return [Loss(*row) for row in connection.run("select_losses").rows]


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
    return bool(connection.run("take_leadership", (_leader(settings), seconds)).rows[0][0])


def is_led(connection: Connection, settings: Settings) -> bool:
    """Whether a sink is active on this table and topic now, wherever it runs."""
    return connection.run("select_leader", (_leader(settings),)).rows[0][0] is not None


def _leader(settings: Settings) -> str:
    tables = f"{settings.mysql_database}.{statements.table_names(settings)['ledger']}/{settings.kafka_topic}"
    return "orderflow " + hashlib.sha256(tables.encode()).hexdigest()[:40]  # MySQL allows 64 characters


def totals(entries_: Sequence[Entry]) -> tuple[int, int, int]:
    """Stored, duplicates, quarantined over all partitions."""
    return (
        sum(entry.stored for entry in entries_),
        sum(entry.duplicates for entry in entries_),
        sum(entry.quarantined for entry in entries_),
    )
