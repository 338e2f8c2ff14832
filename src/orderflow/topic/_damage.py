"""Finds the offsets of damaged batches, and reads around them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from confluent_kafka import KafkaError, TopicPartition

from orderflow.errors import BatchDamaged, KafkaUnavailable
from orderflow.offsets import DamagedOffset, DamagedRange, OffsetRange, check_offset
from orderflow.settings import Settings
from orderflow.topic._connection import translate_errors
from orderflow.topic._consumers import Record, high_watermark, open_consumer
from orderflow.topic._error_codes import is_damage
from orderflow.topic._metadata import bounds
from orderflow.topic._range_reading import (
    GAP_STALL_TIMEOUT,
    PROBE_BYTES,
    READ_STALL_TIMEOUT,
    STATISTICS,
    ReadProgress,
    process_error_event,
    read,
)

log = logging.getLogger(__package__)  # JSON logs show the name, and this module is private


def find_damage(settings: Settings, partition: int, position: int) -> DamagedRange | None:
    """Return the damaged offsets that stop a reader at `position`; None if it can read a record or the end.

    They end at the next readable record or at the end of the partition. The batch's own length is not used, because
    those bytes may be damaged too.
    Raises KafkaUnavailable (also if the broker was only silent for a while), KafkaRefused, OffsetsLost.
    """
    end_of_partition = bounds(settings, [partition])[partition].end
    probe = partial(_probe, settings, partition)
    if position >= end_of_partition:
        return None
    with translate_errors(settings):
        result = probe(position, READ_STALL_TIMEOUT)
        if not result.is_damage:
            return None
        reason = result.reason
        suspects: set[int] = set()
        first = reached = result.offset if position <= result.offset < end_of_partition else position
        while result.is_damage and reached < end_of_partition:  # several damaged batches may follow each other
            start = reached
            reached, has_timed_out = _end_of_batch(probe, result, start, end_of_partition)
            suspects |= {start, reached - 1} if has_timed_out else set()
            result = probe(reached)
        if result.is_damage:  # even the end of the partition cannot be read, so no batch is the cause
            raise KafkaUnavailable(f"{settings.kafka_topic} partition {partition} cannot be read now: {result.reason}.")
        for offset in sorted(suspects):  # now that the broker answers: perhaps it only paused
            if not probe(offset, READ_STALL_TIMEOUT).is_damage:
                raise KafkaUnavailable(
                    f"{settings.kafka_topic} partition {partition} did not answer for a while at offset {offset}, and"
                    " can be read there now.",
                    hint="Repeat the command.",
                )
    return DamagedRange(partition, position, first, result.offset, reason)


def find_next_damage(
    settings: Settings, partition: int, start: int, end: int, on_record: Callable[[Record], None] = lambda _: None
) -> DamagedRange | None:
    """Return the first damaged offsets between `start` and `end`; None if there are none.

    `position` of the result is the offset after the last record before them. `on_record` is called with each record
    before them.
    Raises what `read` and `find_damage` raise.
    """
    position = start
    try:
        for record in read(settings, partition, start, end):
            position = record.offset + 1
            on_record(record)
    except BatchDamaged:
        return find_damage(settings, partition, position)
    return None


def read_around_damage(settings: Settings, partition: int, start: int, end: int) -> Iterator[Record]:
    """Yield records like `read`, but log and skip damaged offsets. For callers that do not need every record."""
    position = start
    while position < end:
        try:
            for record in read(settings, partition, position, end):
                position = record.offset + 1
                yield record
        except BatchDamaged as error:
            if (damaged := find_damage(settings, partition, position)) is None:
                raise
            log.warning("%s Offsets %d to %d are skipped.", error.message, damaged.first, damaged.end - 1)
            position = damaged.end
        else:
            return


class _ProbeResult(NamedTuple):
    """The first event of a reader: a record or the end of partition at `offset`, or damage with its code and offset."""

    offset: int
    is_damage: bool
    code: int = 0  # 0 also after a timeout
    reason: str = ""


def _end_of_batch(probe: Callable[[int], _ProbeResult], damage: _ProbeResult, start: int, end: int) -> tuple[int, bool]:
    """Return the first offset without this damage, or `end`; and whether a timeout took part in this result.

    The search doubles its steps, then bisects.
    """
    has_timed_out = not damage.code

    def is_same_damage(offset: int) -> bool:
        nonlocal has_timed_out
        result = probe(offset)
        has_timed_out |= result.is_damage and not result.code
        return result.is_damage and (not result.code or (result.code, result.offset) == (damage.code, damage.offset))

    inside, step = start, 1
    while (outside := min(inside + step, end)) < end and is_same_damage(outside):
        inside, step = outside, 2 * step
    while outside - inside > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if is_same_damage(middle) else (inside, middle)
    return outside, has_timed_out


def _probe(settings: Settings, partition: int, offset: int, stall_timeout: float = GAP_STALL_TIMEOUT) -> _ProbeResult:
    """Return the first event of a reader that starts at this offset.

    Each call uses a new client. A client that has read damage may continue at a wrong offset, even after a new
    assignment.
    """
    wanted = OffsetRange(offset, offset + 1)
    progress = ReadProgress(stall_timeout, settings.kafka_topic, partition)
    config = {"fetch.message.max.bytes": PROBE_BYTES, "stats_cb": progress.on_statistics} | STATISTICS
    with open_consumer(settings, **config) as reader:
        reader.assign([TopicPartition(settings.kafka_topic, partition, offset)])
        while (message := reader.poll(0.25)) is None:
            if (seconds := time.monotonic() - progress.moved_at) > stall_timeout:
                return _ProbeResult(offset, True, reason=f"nothing arrived for {seconds:.0f} seconds")
        error, event_offset = message.error(), message.offset()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            assert event_offset is not None
            try:
                if error is None:
                    check_offset(event_offset, offset, high_watermark(reader, settings, partition))
            except DamagedOffset as damage:
                return _ProbeResult(event_offset, True, KafkaError._BAD_MSG, str(damage))
            return _ProbeResult(event_offset, False)
        if not is_damage(error):
            process_error_event(settings, partition, wanted, error, event_offset)
        return _ProbeResult(offset if event_offset is None else event_offset, True, error.code(), error.str())
