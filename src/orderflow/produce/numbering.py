"""Where the order numbers go on."""

from __future__ import annotations

import logging
import re
from contextlib import closing

from confluent_kafka import Consumer, KafkaException, TopicPartition
from rich.progress import Progress

from orderflow import topic
from orderflow.errors import RecordRejected
from orderflow.order import ORDER_ID, decode
from orderflow.settings import Settings
from orderflow.topic import Record, TopicInfo

log = logging.getLogger(__name__)

# Kafka keeps a text beside a group's offset: here the topic's id and the highest number below that offset.
GROUP = "orderflow-numbering"
WORTH_KEEPING = 100_000  # records, read in about half a second
_KEY = re.compile(ORDER_ID.pattern.encode())
_PREFIX = len("ORDER-")
_END_OF_OURS = 10**18  # a larger one is somebody else's, and must not leave later producers without room
_STEP = 10_000  # records between two movements of the progress bar


def next_number(settings: Settings, info: TopicInfo, progress: Progress) -> int:
    """One more than the highest order number (of 18 digits at most) among the topic's keys and good orders, or 1.

    The highest may stand anywhere, so every record is read, but only once: Kafka keeps how far a long reading got,
    and the next one goes on there. `progress` gets a task that counts the records.

    Raises KafkaUnavailable, KafkaRefused, OffsetsLost.
    """
    bounds = topic.bounds(settings, info.partitions)
    highest, seen = (
        _recall(settings, info) if sum(b.end - b.first for b in bounds.values()) > WORTH_KEEPING else (0, {})
    )
    ranges = {part: (max(first, seen.get(part, 0)), end) for part, (first, end) in bounds.items()}
    unread = sum(max(0, end - start) for start, end in ranges.values())
    task = progress.add_task("highest order number", total=unread)
    for partition, (start, end) in ranges.items():
        for count, record in enumerate(topic.read(settings, partition, start, end), start=1):
            if (number := _number(record)) < _END_OF_OURS:
                highest = max(highest, number)
            if not count % _STEP:
                progress.advance(task, _STEP)
    progress.remove_task(task)
    if unread > WORTH_KEEPING:
        _keep(settings, info, highest, {partition: end for partition, (_, end) in ranges.items()})
    return highest + 1


def _number(record: Record) -> int:
    if record.key is not None and _KEY.fullmatch(record.key):
        return int(record.key[_PREFIX:])
    try:
        return int(decode(record.value).order_id[_PREFIX:])
    except RecordRejected:
        return 0


def _recall(settings: Settings, info: TopicInfo) -> tuple[int, dict[int, int]]:
    """The highest number of an earlier reading, and partition to the offset it got to."""
    wanted = [TopicPartition(info.name, partition) for partition in info.partitions]
    highest, seen = 0, {}
    with closing(_group(settings)) as group:
        try:
            kept = group.committed(wanted, timeout=topic.TIMEOUT)
        except KafkaException as exception:
            log.warning("Reading %s from its start: group %s: %s", info.name, GROUP, exception.args[0].str())
            return 0, {}
    for place in kept:
        topic_id, _, number = (place.metadata or "").partition(" ")
        if topic_id == info.topic_id:
            highest, seen[place.partition] = max(highest, int(number)), place.offset
    return highest, seen


def _keep(settings: Settings, info: TopicInfo, highest: int, ends: dict[int, int]) -> None:
    note = f"{info.topic_id} {highest}"
    offsets = [TopicPartition(info.name, partition, end, note) for partition, end in ends.items()]
    with closing(_group(settings)) as group:
        try:
            group.commit(offsets=offsets, asynchronous=False)
        except KafkaException as exception:
            log.warning("The next start reads %s again: group %s: %s", info.name, GROUP, exception.args[0].str())


def _group(settings: Settings) -> Consumer:
    return Consumer(topic.client_config(settings) | {"group.id": GROUP, "enable.auto.commit": False})
