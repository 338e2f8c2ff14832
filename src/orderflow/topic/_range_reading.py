"""Reads the records between two offsets of a partition completely, or raises an error."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from orderflow.errors import BatchDamaged, KafkaUnavailable, OffsetsLost
from orderflow.offsets import DamagedOffset, OffsetRange
from orderflow.settings import Settings
from orderflow.topic._connection import TIMEOUT, translate_errors
from orderflow.topic._consumers import Record, as_record, close, consumer, end_after, open_consumer
from orderflow.topic._error_codes import POSITION_LOST_CODES, REFUSAL_CODES, damaged_batch_error, is_damage
from orderflow.topic._metadata import bounds

READ_STALL_TIMEOUT = 30.0  # seconds that a reader waits while its position in the partition does not move
# Seconds without an answer after which `holds_records` uses `read`, which also detects progress in aborted records.
GAP_STALL_TIMEOUT = 3.0
_PREMATURE_END_TIMEOUT = 1.0  # seconds that a reader waits after an end of partition before the requested end
PROBE_BYTES = 10_000  # per fetch that looks for one record
# The end of a partition is only reported after a fetch without records.
PROBE_CONFIG = {"fetch.message.max.bytes": PROBE_BYTES, "fetch.wait.max.ms": 10}
STATISTICS = {"statistics.interval.ms": 1000}


def read(
    settings: Settings, partition: int, start: int, end: int, *, stall_timeout: float = READ_STALL_TIMEOUT
) -> Iterator[Record]:
    """Yield all committed records of one partition with `start` <= offset < `end`, in order; or raise an error.

    Offsets without a record (transaction markers, aborted or compacted records) are skipped.

    Raises OffsetsLost if the range is no longer in the topic.
    Raises BatchDamaged if a batch is damaged.
    Raises KafkaUnavailable if the partition now ends before `end`, or if reading makes no progress for `stall_timeout`
    seconds.
    """
    if start < end:
        progress = ReadProgress(stall_timeout, settings.kafka_topic, partition)
        config = {"stats_cb": progress.on_statistics} | STATISTICS
        with translate_errors(settings), open_consumer(settings, **config) as reader:
            yield from _read(reader, settings, partition, OffsetRange(start, end), progress)


def records_at(settings: Settings, offsets: Mapping[int, int]) -> dict[int, Record]:
    """Return the committed record at one offset of each partition. All are read by one client.

    A partition is left out if it has no such record (compacted, or gone), or if it cannot be read there.
    Raises KafkaRefused, and KafkaUnavailable if a partition does not answer for 10 seconds.
    """
    records: dict[int, Record] = {}
    missing, deadline = dict(offsets), time.monotonic() + TIMEOUT
    with translate_errors(settings), open_consumer(settings, **PROBE_CONFIG) as reader:
        reader.assign([TopicPartition(settings.kafka_topic, *where) for where in offsets.items()])
        while missing and time.monotonic() < deadline:
            for message in _poll_messages(reader, 0.25):
                partition, error = message.partition(), message.error()
                if error is not None and error.code() in REFUSAL_CODES:
                    raise KafkaException(error)
                if partition in missing and missing.pop(partition) == message.offset() and error is None:
                    records[partition] = as_record(message)
    if missing:
        partition, offset = next(iter(missing.items()))
        raise KafkaUnavailable(
            f"Kafka at {settings.kafka_bootstrap_servers} sent nothing from {settings.kafka_topic}"
            f" partition {partition} for {TIMEOUT:.0f} seconds, starting at offset {offset}."
        )
    return records


def holds_records(
    settings: Settings,
    partition: int,
    start: int,
    end: int,
    *,
    gap_stall_timeout: float = GAP_STALL_TIMEOUT,
    stall_timeout: float = READ_STALL_TIMEOUT,
) -> bool:
    """Whether a committed record can be read with `start` <= offset < `end`.

    If no answer arrives for `gap_stall_timeout` seconds, `read` searches the range, with `stall_timeout`. Raises what
    `read` raises if the answer is not known now.
    """
    if start >= end:
        return False
    wanted = OffsetRange(start, end)
    try:
        # Each thread keeps its client, because this check runs after each transaction of a producer.
        if getattr(_thread_local, "settings", None) != settings:
            _thread_local.reader, _thread_local.settings = (
                consumer(settings, **PROBE_CONFIG),
                settings,
            )
        reader: Consumer = _thread_local.reader
        with translate_errors(settings):
            try:
                return any(True for _ in _read(reader, settings, partition, wanted, ReadProgress(gap_stall_timeout)))
            finally:
                reader.unassign()  # otherwise it would continue to fetch
    except _Stalled:
        return any(True for _ in read(settings, partition, wanted.position, end, stall_timeout=stall_timeout))
    except (BatchDamaged, KafkaUnavailable):
        # After damage, its client may continue at a wrong offset. After an outage, it may have a newer leader epoch
        # than a broker that was restored from a copy, which the broker then refuses each time.
        _thread_local.settings = None
        close(_thread_local.reader)
        raise


_thread_local = threading.local()


class _Stalled(KafkaUnavailable):
    """A reader has made no progress for too long."""


class ReadProgress:
    """Tracks a reader's progress by the client's own position, because aborted transactions return no record."""

    def __init__(self, stall_timeout: float, topic: str = "", partition: int = 0) -> None:
        """`stall_timeout` is in seconds without progress."""
        self.stall_timeout = stall_timeout
        self._topic, self._partition = topic, str(partition)
        self._next_offset = -1
        self.moved_at = time.monotonic()

    def on_statistics(self, text: str) -> None:
        partitions = json.loads(text)["topics"].get(self._topic, {}).get("partitions", {})
        next_offset = partitions.get(self._partition, {}).get("next_offset", self._next_offset)
        if next_offset != self._next_offset:
            self._next_offset, self.moved_at = next_offset, time.monotonic()


def _read(
    reader: Consumer, settings: Settings, partition: int, wanted: OffsetRange, progress: ReadProgress
) -> Iterator[Record]:
    reader.assign([TopicPartition(settings.kafka_topic, partition, wanted.position)])
    progress.moved_at = time.monotonic()
    while not wanted.is_known:
        for message in _poll_messages(reader, 0.25):
            progress.moved_at = time.monotonic()
            if (error := message.error()) is not None:
                process_error_event(settings, partition, wanted, error, message.offset())
                continue
            record = as_record(message)
            try:
                is_gap = record.offset != wanted.position
                end = end_after(reader, settings, partition, record.offset) if is_gap else None
                if wanted.on_record(record.offset, end):
                    yield record
            except DamagedOffset as error:
                raise damaged_batch_error(settings, partition, wanted.position, str(error)) from error
            if wanted.is_known:  # the broker would report the end only after half a second
                break
        else:
            _check_progress(settings, partition, wanted, time.monotonic() - progress.moved_at, progress.stall_timeout)


def _poll_messages(reader: Consumer, seconds: float) -> list[Message]:
    """Return the messages that have arrived, or wait up to `seconds` for the first one.

    (`consume` alone would wait until it has the maximum number of messages.)
    """
    first = reader.poll(seconds)
    return [] if first is None else [first, *reader.consume(10_000, timeout=0)]


def process_error_event(
    settings: Settings, partition: int, wanted: OffsetRange, error: KafkaError, offset: int | None
) -> None:
    if error.code() == KafkaError._PARTITION_EOF:
        assert offset is not None
        wanted.on_end(offset)  # the end for a read_committed reader; all records before it have been read
    elif is_damage(error):
        raise damaged_batch_error(settings, partition, wanted.position, error.str())
    elif error.code() in POSITION_LOST_CODES:
        first, end = bounds(settings, [partition])[partition]
        if wanted.position > end:
            raise _premature_end_error(settings, partition, end, wanted.position)
        if wanted.position >= first:
            raise KafkaUnavailable(
                f"{settings.kafka_topic} partition {partition} cannot be read at offset {wanted.position} now:"
                f" {error.str()}."
            )
        raise OffsetsLost(
            f"Offset {wanted.position} of {settings.kafka_topic} partition {partition} is not in the topic.",
            hint="Retention or a deletion has removed it; see `orderflow status`.",
        )
    else:
        raise KafkaException(error)


def _check_progress(
    settings: Settings, partition: int, wanted: OffsetRange, seconds: float, stall_timeout: float
) -> None:
    if wanted.premature_end is not None and seconds > _PREMATURE_END_TIMEOUT:
        raise _premature_end_error(settings, partition, wanted.premature_end, wanted.end)
    if seconds > stall_timeout:
        raise _Stalled(
            f"Kafka at {settings.kafka_bootstrap_servers} sent nothing from {settings.kafka_topic}"
            f" partition {partition} for {seconds:.0f} seconds, starting at offset {wanted.position}."
        )


def _premature_end_error(settings: Settings, partition: int, end: int, wanted_end: int) -> KafkaUnavailable:
    return KafkaUnavailable(
        f"{settings.kafka_topic} partition {partition} ends at offset {end} now, before offset {wanted_end}. The"
        " records between these offsets cannot be read yet."
    )
