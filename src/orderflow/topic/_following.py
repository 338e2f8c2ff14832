"""Yields the topic's records as they arrive."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from orderflow.errors import KafkaUnavailable
from orderflow.settings import Settings
from orderflow.topic._connection import translate_errors
from orderflow.topic._consumers import Record, as_record, open_consumer
from orderflow.topic._error_codes import POSITION_LOST_CODES, REFUSAL_CODES, damaged_batch_error, is_damage
from orderflow.topic._metadata import Bounds, bounds, describe, wait_for_leaders

log = logging.getLogger(__package__)  # JSON logs show the name, and this module is private


def follow(settings: Settings, *, from_beginning: bool) -> Iterator[Record]:
    """Yield the committed records of all partitions as they arrive. The iterator never ends.

    It waits for brokers that are down. It logs and skips a partition with a damaged batch. If a partition has lost the
    next record, this is logged, and it continues at the nearest offset that the partition has.

    Raises TopicMissing, KafkaRefused.
    """
    topic_info = describe(settings)
    start = OFFSET_BEGINNING if from_beginning else OFFSET_END
    with translate_errors(settings), open_consumer(settings) as reader:
        reader.assign([TopicPartition(topic_info.name, partition, start) for partition in topic_info.partitions])
        positions: dict[int, int] = {}
        damaged: set[int] = set()
        while True:
            for message in reader.consume(1_000, timeout=0.2):
                error, partition = message.error(), message.partition()
                if partition in damaged:
                    continue
                if error is None:
                    record = as_record(message)
                    positions[record.partition] = record.offset + 1
                    yield record
                elif is_damage(error) and partition is not None:
                    damaged.add(partition)
                    reader.incremental_unassign([TopicPartition(topic_info.name, partition)])
                    offset = positions.get(partition, message.offset() or 0)
                    log.warning("%s", damaged_batch_error(settings, partition, offset, error.str()).message)
                elif error.code() in POSITION_LOST_CODES and partition is not None:
                    first, end = _wait_for_bounds(settings, partition)
                    offset = min(max(positions.get(partition, first if from_beginning else end), first), end)
                    log.warning(
                        "%s partition %d: %s. Continuing at offset %d.", topic_info.name, partition, error.str(), offset
                    )
                    reader.incremental_unassign([TopicPartition(topic_info.name, partition)])
                    reader.incremental_assign([TopicPartition(topic_info.name, partition, offset)])
                elif error.code() in REFUSAL_CODES or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise KafkaException(error)


def _wait_for_bounds(settings: Settings, partition: int) -> Bounds:
    while True:
        try:
            wait_for_leaders(settings)  # also renews the client's knowledge of the leaders, which `bounds` needs
            return bounds(settings, [partition])[partition]
        except KafkaUnavailable as error:
            log.warning("%s Retrying.", error.message)
