"""The ledger: how far each partition is accounted for. It is the pipeline's only checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

from orderflow.errors import OffsetsLost, TopicRecreated
from orderflow.offsets import DamagedRange
from orderflow.settings import Settings
from orderflow.store import named_lock, statements
from orderflow.store.connection import Connection
from orderflow.store.record_batch import produced_at


class LedgerEntry(NamedTuple):
    """A row of the ledger. Records from `first_offset` up to, but not including, `next_offset` are accounted for.

    Each is stored, a duplicate, quarantined, or part of an accepted loss. The counters only grow. `quarantined` counts
    all records that were ever quarantined; a replayed one also counts as stored or duplicate.
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
    """The offsets `first_offset` <= offset < `end_offset`, which were removed before they were stored or are damaged.

    `accepted_at` and `accepted_by` are None until a person accepts the loss.
    """

    topic: str
    topic_id: str
    partition: int
    first_offset: int
    end_offset: int
    accepted_at: datetime | None = None  # UTC, naive, as the server returns it
    accepted_by: str | None = None


class LockedPosition(NamedTuple):
    """A partition's position, which no other session can move until the transaction ends; `now` is the server's UTC."""

    next_offset: int
    topic_id: str
    now: datetime
    contract_id: int  # contract version with which the last records were stored


class LastRecord(NamedTuple):
    """The last record of a partition that a transaction accounted for; see `hash_record`. Its offset is -1 for none."""

    offset: int = -1
    hash: int = 0


class PositionUpdate(NamedTuple):
    """A partition's new position, the increments of its counters, and its last record if it has a new one."""

    next_offset: int
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    unknown_fields: int = 0
    lost: int = 0
    last: LastRecord = LastRecord()


def lock(connection: Connection, topic: str, partitions: Collection[int]) -> dict[int, LockedPosition]:
    """Lock these partitions in ascending order, as every writer does. Return those that the ledger has."""
    placeholders = statements.placeholders_for(partitions)
    rows = connection.execute("lock_ledger", (topic, *partitions), partitions=placeholders).rows
    return {partition: LockedPosition(*position) for partition, *position in rows}


def advance(
    connection: Connection, topic: str, topic_id: str, now: datetime, updates: Mapping[int, PositionUpdate]
) -> None:
    """Move the positions of locked partitions; `now` is the server's UTC."""
    rows = [
        (
            topic,
            partition,
            topic_id,
            update.next_offset,  # as first_offset, which the statement does not change
            update.next_offset,
            update.stored,
            update.duplicates,
            update.quarantined,
            update.unknown_fields,
            update.lost,
            update.last.offset,
            update.last.hash,
            now,
        )
        for partition, update in updates.items()
    ]
    connection.execute_rows("advance_ledger", rows)


def advance_past_empty(  # noqa: PLR0917
    connection: Connection, topic: str, topic_id: str, partition: int, start: int, end: int
) -> None:
    """Move the partition's position from `start` to `end`, between which the topic has no record.

    Nothing changes if the position is another one by now. Raises the connection's errors.
    """
    values = {"topic": topic, "topic_id": topic_id, "partition": partition, "start": start, "end": end}
    connection.execute("advance_past_empty", values)
    connection.commit()


def read_entries(connection: Connection, topic: str | None = None) -> list[LedgerEntry]:
    """Return all rows, or those of one topic, ordered by topic and partition."""
    rows = [LedgerEntry(*row) for row in connection.execute("select_ledger").rows]
    connection.rollback()  # the next SELECT must not use this one's snapshot
    return [entry for entry in rows if topic in (None, entry.topic)]


def hash_record(timestamp: int, key: bytes | None) -> int:
    """Return a hash that distinguishes the record from another one at its offset. `timestamp` is in milliseconds.

    It excludes the value, because an application may pass a changed one to write_orders.
    """
    text = repr((produced_at(timestamp), key)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), signed=True)


def read_last_records(connection: Connection, topic: str) -> dict[int, LastRecord]:
    """Return the last record by partition, without partitions that only an earlier version wrote to."""
    rows = connection.execute("select_last_records", {"topic": topic}).rows
    connection.rollback()  # the next SELECT must not use this one's snapshot
    return {partition: LastRecord(*last) for partition, *last in rows}


def ensure_partitions(
    connection: Connection, topic: str, topic_id: str, first_offsets: Mapping[int, int]
) -> dict[int, int]:
    """Return each partition's next offset, and add the partitions that the ledger does not have yet.

    A topic that is new to the ledger starts at its first offsets. A partition that was added to a topic of the ledger
    starts at 0: what retention has removed of it since then is a loss.

    Raises TopicRecreated if the ledger has another topic of this name.
    Raises OffsetsLost if the topic begins after the position of one of its partitions.
    """
    _add_partitions(connection, topic, topic_id, first_offsets)
    connection.commit()
    if lost := find_losses(connection, topic, topic_id, first_offsets):
        raise OffsetsLost(
            "Records are gone from the topic before they were stored: "
            + ", ".join(
                f"{topic} partition {loss.partition} offsets {loss.first_offset} to {loss.end_offset - 1}"
                for loss in lost
            )
            + ".",
            hint="Retention or a deletion removed them. Restore the topic. To continue without these records, run"
            " `orderflow accept-loss`, then `orderflow accept-loss --yes`.",
        )
    return {entry.partition: entry.next_offset for entry in read_entries(connection, topic)}


def _add_partitions(connection: Connection, topic: str, topic_id: str, first_offsets: Mapping[int, int]) -> None:
    next_offsets = read_positions(connection, topic, topic_id, first_offsets)
    for partition, first in first_offsets.items():
        start = next_offsets.get(partition, first)
        values = {"topic": topic, "partition": partition, "topic_id": topic_id, "first_offset": start}
        connection.execute("add_partition", values)


def read_positions(connection: Connection, topic: str, topic_id: str, partitions: Collection[int]) -> dict[int, int]:
    """Return each partition's next offset.

    It is 0 for an added partition, which the ledger lacks. The result is empty if the ledger does not have the topic.

    Raises TopicRecreated if the ledger has another topic of this name.
    """
    known_entries = read_entries(connection, topic)
    for entry in known_entries:
        check_topic_id(topic, topic_id, entry.topic_id)
    added = dict.fromkeys(partitions, 0) if known_entries else {}
    return added | {entry.partition: entry.next_offset for entry in known_entries}


def find_losses(
    connection: Connection,
    topic: str,
    topic_id: str,
    first_offsets: Mapping[int, int],
    damaged: Collection[DamagedRange] = (),
) -> list[Loss]:
    """Return the lost ranges: those that were removed before they were stored, and those in `damaged`.

    Raises TopicRecreated if the ledger has another topic of this name.
    """
    next_offsets = read_positions(connection, topic, topic_id, first_offsets)
    return [
        Loss(topic, topic_id, partition, *lost)
        for partition, position in next_offsets.items()
        if (lost := _find_lost_range(partition, position, first_offsets, damaged))
    ]


def _find_lost_range(
    partition: int, position: int, first_offsets: Mapping[int, int], damaged: Collection[DamagedRange]
) -> tuple[int, int] | None:
    """Return the next lost range of offsets at this position; None if there is none."""
    if position < first_offsets.get(partition, 0):
        return position, first_offsets[partition]
    for damage in damaged:
        if (damage.partition, damage.position) == (partition, position):
            return damage.first, damage.end
    return None


def accept_losses(  # noqa: PLR0917
    connection: Connection,
    topic: str,
    topic_id: str,
    first_offsets: Mapping[int, int],
    by: str,
    damaged: Collection[DamagedRange] = (),
) -> list[Loss]:
    """Record the losses and move the positions past them, in one transaction. Return what was recorded.

    Raises TopicRecreated, and the connection's errors. Then nothing has changed, unless a COMMIT's reply was lost.
    """
    accepted: list[Loss] = []
    if find_losses(connection, topic, topic_id, first_offsets, damaged):
        _add_partitions(connection, topic, topic_id, first_offsets)
    for partition, (next_offset, ledger_id, now, _) in lock(connection, topic, first_offsets).items():
        check_topic_id(topic, topic_id, ledger_id)
        if lost := _find_lost_range(partition, next_offset, first_offsets, damaged):
            loss = Loss(topic, topic_id, partition, *lost, now, by)
            connection.execute("insert_loss", loss._asdict())
            advance(
                connection, topic, topic_id, now, {partition: PositionUpdate(loss.end_offset, lost=lost[1] - lost[0])}
            )
            accepted.append(loss)
    connection.commit()
    return accepted


def read_losses(connection: Connection) -> list[Loss]:
    """Return all accepted losses, ordered by topic, partition and offset."""
    return [Loss(*row) for row in connection.execute("select_losses").rows]


def without_losses(start: int, end: int, losses: Iterable[Loss]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of offsets from `start` up to, without, `end` that no accepted loss covers."""
    for loss in sorted(losses, key=lambda loss: loss.first_offset):
        if start < min(loss.first_offset, end):
            yield start, min(loss.first_offset, end)
        start = max(start, loss.end_offset)
    if start < end:
        yield start, end


def check_topic_id(topic: str, topic_id: str, ledger_id: str) -> None:
    """Check that the topic has the ledger's id. Raises TopicRecreated."""
    if topic_id != ledger_id:
        raise TopicRecreated(
            f"Topic {topic} was deleted and created again: its id is {topic_id}, and the ledger has {ledger_id}.",
            hint="Its offsets restart at 0. Set KAFKA_TOPIC to the original topic, or MYSQL_TABLE to a new table.",
        )


def take_leadership(connection: Connection, settings: Settings, seconds: float) -> bool:
    """Become the only active sink of this table and topic. Waits up to `seconds` for another sink's session to end.

    The server releases the lock when its holder's session ends, for whatever reason.
    """
    return named_lock.acquire(connection, _leadership_lock_name(connection, settings), seconds)


def has_active_sink(connection: Connection, settings: Settings) -> bool:
    """Whether a sink is active on this table and topic now, on any machine."""
    return leader_session_id(connection, settings) is not None


def leader_session_id(connection: Connection, settings: Settings) -> int | None:
    """Return the id of the active sink's session in MySQL; None if no sink is active."""
    return named_lock.holder(connection, _leadership_lock_name(connection, settings))


def _leadership_lock_name(connection: Connection, settings: Settings) -> str:
    tables = f"{settings.mysql_database}.{statements.table_names(settings)['ledger']}"
    return named_lock.lock_name(connection, "orderflow", tables, f"/{settings.kafka_topic}")


def totals(entries: Sequence[LedgerEntry]) -> tuple[int, int, int]:
    """Return the stored, duplicate and quarantined counts over all partitions."""
    return (
        sum(entry.stored for entry in entries),
        sum(entry.duplicates for entry in entries),
        sum(entry.quarantined for entry in entries),
    )
