"""Reads a topic's partitions with librdkafka for the direct engine's threads.

Rejected: a consumer group. The ledger already holds the positions, and together with the leadership lock it prevents
two sinks from storing the same records. After a kill, a group delivers no records until its session expires (45 s by
default).
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import inf
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from orderflow import topic
from orderflow.errors import RestartRequired
from orderflow.offsets import DamagedOffset, check_offset
from orderflow.pipeline.engine import DAMAGE_RETRY_INTERVAL, DamagedPartition
from orderflow.positions.kafka_topic_reader import KafkaTopicReader
from orderflow.store.commit_ticket import CommitTicket
from orderflow.store.record_batch import MAX_TRANSACTION_RECORDS

THREADS = 3  # each has a connection: two of them write (see CommitTicket) while the third reads the next batch
_POLL_INTERVAL = 0.25  # seconds to wait for records before checking whether to stop
# The topic was deleted, created again, or has lost records. The next start detects and reports which.
_TOPIC_CHANGED = {
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError._LOG_TRUNCATION,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
# Smaller batches (in records) wait for the previous transaction: that costs less than a concurrent one.
_SMALL_BATCH = 1000
_MAX_BUFFERED = 2 * MAX_TRANSACTION_RECORDS  # records from which `_drain` takes the oldest
_MAX_QUEUED = 2 * MAX_TRANSACTION_RECORDS  # records in librdkafka's queues for all partitions
_TUNING = {
    "fetch.wait.max.ms": 100,
    "queued.max.messages.kbytes": 32 * 1024,  # limits the memory; _MAX_QUEUED is usually reached first
    # Per partition. With less, no second batch would fit into a response, so it would serve only one partition.
    "fetch.message.max.bytes": 256 * 1024,
    "fetch.queue.backoff.ms": 10,  # by default librdkafka backs off for 1 s when enough is queued
}


class PartitionConsumer:
    """Delivers batches of records to several threads, until `stop_event` is set or `end_offsets` are reached.

    One batch holds everything fetched so far; with a backlog, the oldest records of all partitions first. Orders that
    were produced together are then stored together, and InnoDB fills each page once. In order of arrival, successive
    batches wrote to the same pages and split them.
    """

    def __init__(
        self,
        topic_reader: KafkaTopicReader,
        positions: Mapping[int, int],
        end_offsets: Mapping[int, int] | None,
        stop_event: threading.Event,
        damaged: dict[int, DamagedPartition],
        *,
        retry_interval: float = DAMAGE_RETRY_INTERVAL,
    ) -> None:
        """Reading a damaged batch is retried every `retry_interval` seconds, unless there are `end_offsets`.

        Raises KafkaUnavailable and KafkaRefused.
        """
        settings = topic_reader.settings
        self.stop_event = stop_event
        self._settings = settings
        self._topic = settings.kafka_topic
        # The end offsets that are not reached yet. None: the topic has no end; {}: all are reached, so reading ends.
        self._remaining_end_offsets = (
            None
            if end_offsets is None
            else {
                partition: end_offsets[partition]
                for partition, position in positions.items()
                if position < end_offsets[partition]
            }
        )
        self._reading = threading.Lock()
        self._last_ticket: CommitTicket | None = None
        self._buffered: dict[int, list[Message]] = {}  # by partition: fetched records
        self._read_to: dict[int, int] = {}  # by partition: the next offset to fetch
        self._delivered_to = dict(positions)  # by partition: the next offset to deliver
        # By partition, for each recent batch: its first offset → the end of the batch before it (`has_proven_empty`).
        self._previous_end_by_start: dict[int, dict[int, int]] = {partition: {} for partition in positions}
        self._damaged_partitions = damaged
        self._retry_interval = retry_interval
        self._stopped: set[int] = set()  # partitions that are not read: at their end offset, or damaged
        self._retry_at: dict[int, float] = {}  # by damaged partition: the monotonic time of the next attempt to read it
        # Partitions with a damaged batch. The client may skip records there, so its gaps are checked again.
        self._had_damage: set[int] = set()
        wanted = positions if self._remaining_end_offsets is None else self._remaining_end_offsets
        queued = {"queued.min.messages": _MAX_QUEUED // max(1, len(wanted))}
        with topic.translate_errors(settings):
            self._consumer = topic.consumer(
                settings, **_TUNING, **queued, **{"enable.partition.eof": end_offsets is not None}
            )
            self._consumer.assign([])
            for partition in wanted:
                self._assign(partition, positions[partition])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        topic.close(self._consumer)

    def next_batch(self) -> tuple[CommitTicket, list[Message]] | None:
        """Return the next records with their ticket in the commit order; None at the end.

        Raises RestartRequired and KafkaException.
        """
        with self._reading:
            while not self.stop_event.is_set() and (self._buffered or self._remaining_end_offsets != {}):
                if not (count := self._receive(_POLL_INTERVAL)):
                    continue
                if count < _SMALL_BATCH and self._last_ticket:
                    self._last_ticket.wait_for_end()
                    self._receive(0)
                self._last_ticket = CommitTicket(self._last_ticket)
                return self._last_ticket, self._drain()
        return None

    def has_proven_empty(self, partition: int, start: int, end: int) -> bool:
        """Whether the consumer has read from `start` (or earlier) up to `end` and found no record between."""
        previous_end = self._previous_end_by_start[partition].get(end)
        return previous_end is not None and previous_end <= start

    def _assign(self, partition: int, offset: int) -> None:
        self._read_to[partition] = offset
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, offset)])

    def _receive(self, seconds: float) -> int:
        """Fetch into the buffer; if it is empty, wait up to `seconds`. Return the number of buffered records."""
        arrived = [] if self._buffered else self._consume(1, seconds)
        count = sum(map(len, self._buffered.values())) + len(arrived)
        arrived += self._consume(_MAX_BUFFERED - count, 0)
        for message in arrived:
            self._buffered.setdefault(message.partition(), []).append(message)  # type: ignore[arg-type] # None only in errors
        return count + len(arrived)

    def _drain(self) -> list[Message]:
        counts = count_oldest(self._buffered, MAX_TRANSACTION_RECORDS)
        batch: list[Message] = []
        remaining: dict[int, list[Message]] = {}
        for partition, messages in self._buffered.items():
            oldest, later = messages[: counts[partition]], messages[counts[partition] :]
            if oldest:
                self._mark_delivered(partition, oldest)
                batch += oldest
            if later:
                remaining[partition] = later
        self._buffered = remaining
        return batch

    def _mark_delivered(self, partition: int, records: Sequence[Message]) -> None:
        first, last = records[0].offset(), records[-1].offset()
        assert first is not None and last is not None
        previous_end = self._delivered_to[partition]
        latest = [*self._previous_end_by_start[partition].items()][-THREADS:]  # older batches are already committed
        passed = {} if partition in self._had_damage else {first: previous_end}
        self._previous_end_by_start[partition] = dict(latest) | passed
        self._delivered_to[partition] = last + 1

    def _consume(self, limit: int, seconds: float) -> list[Message]:
        """Return up to `limit` records to store, after waiting up to `seconds` for them."""
        for partition, retry_at in [*self._retry_at.items()]:
            if time.monotonic() > retry_at:
                del self._retry_at[partition]
                self._stopped.remove(partition)
                self._assign(partition, self._read_to[partition])
        return [message for message in self._consumer.consume(limit, seconds) if self._process_message(message)]

    def _process_message(self, message: Message) -> bool:
        """Process a record or an event. Return whether it is a record to store.

        Raises RestartRequired and KafkaException.
        """
        partition, error, offset = message.partition(), message.error(), message.offset()
        if partition in self._stopped:
            return False  # the partition has ended, or librdkafka continues at a wrong byte after a damaged batch
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            self._on_error(partition, error)
            return False
        assert partition is not None and offset is not None
        if error is None:
            return self._on_record(partition, offset)
        self._stop_at_end(partition, offset)  # the end of the partition
        return False

    def _on_record(self, partition: int, offset: int) -> bool:
        """Move the partition's position after the record. Return False if the offset is that of a damaged batch."""
        if offset != (position := self._read_to[partition]):
            try:
                check_offset(offset, position, topic.end_after(self._consumer, self._settings, partition, offset))
            except DamagedOffset as error:
                # A new client would accept this offset, so it is not retried.
                self._pause_partition(partition, str(error), retry=False)
                return False
        self._read_to[partition] = offset + 1
        if self._remaining_end_offsets:
            self._stop_at_end(partition, offset + 1)
        if self._damaged_partitions:
            self._damaged_partitions.pop(partition, None)
        return True

    def _on_error(self, partition: int | None, error: KafkaError) -> None:
        """Pause the partition after damage.

        After another error, stop all threads, so that none reads past it, and raise it: as RestartRequired if the topic
        has changed.
        """
        if topic.is_damage(error) and partition is not None:
            self._pause_partition(partition, error.str())
            return
        self.stop_event.set()
        if error.code() in _TOPIC_CHANGED:
            reached = self._read_to.get(partition)  # type: ignore[arg-type] # None only in errors of the whole topic
            raise RestartRequired(
                f"{self._topic} partition {partition} cannot be read from offset {reached} on: {error.str()}."
            )
        raise KafkaException(error)

    def _stop_at_end(self, partition: int, next_offset: int) -> None:
        """Stop reading the partition if `next_offset` has reached its end offset."""
        if self._remaining_end_offsets and next_offset >= self._remaining_end_offsets.get(partition, inf):
            self._stop_reading(partition)

    def _pause_partition(self, partition: int, reason: str, *, retry: bool = True) -> None:
        """Stop reading a partition with a damaged batch, and retry it later. The other partitions continue."""
        offset = self._read_to[partition]
        self._had_damage.add(partition)
        self._damaged_partitions[partition] = DamagedPartition(
            offset, topic.damaged_batch_error(self._settings, partition, offset, reason)
        )
        self._stop_reading(partition)
        if retry and self._remaining_end_offsets is None:
            self._retry_at[partition] = time.monotonic() + self._retry_interval

    def _stop_reading(self, partition: int) -> None:
        self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
        if self._remaining_end_offsets is not None:
            self._remaining_end_offsets.pop(partition, None)
        self._stopped.add(partition)


def count_oldest(buffered: Mapping[int, Sequence[Message]], limit: int) -> dict[int, int]:
    """Return how many records to take from each partition: all, or the oldest if there are more than `limit`."""
    counts = {partition: len(records) for partition, records in buffered.items()}
    if sum(counts.values()) <= limit:
        return counts
    # Every 16th record represents the 16 records from it on, so at most `limit` records are older than the cut.
    cut = sorted([timestamp_of(record) for records in buffered.values() for record in records[::16]])[limit // 16]
    counts = {partition: bisect_left(records, cut, key=timestamp_of) for partition, records in buffered.items()}
    if limit // 2 <= sum(counts.values()) <= limit:
        return counts
    # The timestamps do not separate the records: take the same number from each partition.
    return {partition: min(len(records), limit // len(buffered)) for partition, records in buffered.items()}


def timestamp_of(message: Message) -> int:
    """Return the record's timestamp in milliseconds since 1970 UTC; -1 if it has none."""
    return message.timestamp()[1]
