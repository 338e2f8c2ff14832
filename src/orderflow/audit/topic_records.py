"""Reads the records of the ledger's partitions from their topics once more, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from orderflow import topic
from orderflow.audit.accepted_losses import find_damaged
from orderflow.audit.partition import AuditedPartition
from orderflow.audit.report import Report
from orderflow.audit.scope import Scope, first_offset, with_topic
from orderflow.errors import OffsetsLost
from orderflow.read_ahead import read_ahead
from orderflow.settings import Settings
from orderflow.topic import Record

CHUNK = 10_000  # records accounted for at a time; fewer if they reach CHUNK_BYTES
CHUNK_BYTES = 16 * 1024 * 1024

OnProgress = Callable[[int, int], None]  # is called with the number of offsets read and their total
Account = Callable[[AuditedPartition, Sequence[Record], int, int], None]
_Chunk = tuple[list[Record], int]


def read_topics(settings: Settings, scope: Scope, report: Report, account: Account, progress: OnProgress) -> None:
    """Read all records that the ledger accounts for, and pass them to `account`.

    `account(partition, records, start, end)` gets all records with `start` <= offset < `end`. Records that retention
    removes during the audit are counted as removed.
    """
    total, done = sum(partition.size for partition in scope.partitions), 0
    for partition in scope.partitions:
        topic_settings = with_topic(settings, partition.entry.topic)
        while partition.next_to_read < partition.entry.next_offset:
            try:
                for read in _read_partition(topic_settings, partition, account):
                    progress(done + read, total)
            except OffsetsLost:  # retention has removed records that were not read yet
                if (first := first_offset(topic_settings, partition.entry.partition)) <= partition.next_to_read:
                    raise
                partition.remove_before(first)
                report.removed_offsets = scope.removed_offsets
        done += partition.size


def _read_partition(settings: Settings, partition: AuditedPartition, account: Account) -> Iterator[int]:
    """Read the records from the partition's position on. Yield how many of its offsets are done."""
    partition.damaged = find_damaged(settings, partition)
    for first, end in partition.readable_ranges():
        partition.next_to_read = first
        for records, chunk_end in read_ahead(split(topic.read(settings, partition.entry.partition, first, end), end)):
            account(partition, records, partition.next_to_read, chunk_end)
            partition.next_to_read = chunk_end
            yield partition.next_to_read - partition.start
    partition.next_to_read = partition.entry.next_offset


def split(records: Iterable[Record], end: int) -> Iterator[_Chunk]:
    """Split the records into lists, each with the offset after its last record; the last list ends at `end`."""
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.value or b"") + len(record.key or b"")
        if len(chunk) == CHUNK or size >= CHUNK_BYTES:
            yield chunk, record.offset + 1
            chunk, size = [], 0
    yield chunk, end
