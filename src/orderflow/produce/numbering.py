"""Finds the next order number of a topic."""

from __future__ import annotations

import logging
from contextlib import closing

from confluent_kafka import Consumer, KafkaException, TopicPartition
from rich.progress import Progress

from orderflow import topic
from orderflow.contract import loader
from orderflow.contract.definition import Contract
from orderflow.contract.exact_path import decode
from orderflow.contract.order_ids import OrderIds
from orderflow.errors import RecordRejected
from orderflow.settings import Settings
from orderflow.topic import Record, TopicInfo

log = logging.getLogger(__name__)

# Kafka stores metadata with a group's offset: here the topic's id, the ids' template unless it is the default one, and
# the highest number below that offset.
GROUP = "orderflow-numbering"
SAVE_THRESHOLD = 100_000  # records; reading that many takes about 0.5 s
_MAX_NUMBER = 10**18  # exclusive; higher ones are ignored, so that a foreign record cannot use up the 44 digits
_STEP = 10_000  # records between two updates of the progress bar


def next_number(
    settings: Settings, topic_info: TopicInfo, progress: Progress, *, save_threshold: int = SAVE_THRESHOLD
) -> int:
    """The highest order number (18 digits at most) among the topic's keys and valid orders, plus 1.

    The highest number may be in any record, so all records are read. Above `save_threshold` records, the result is
    committed to Kafka, and the next call reads only later records.
    `progress` gets a task that counts the records.

    Raises KafkaUnavailable, KafkaRefused, OffsetsLost.
    """
    contract = loader.contract_of(settings)
    ids = OrderIds(contract)
    identity = topic_info.topic_id if contract.is_default else f"{topic_info.topic_id}/{ids.template}"
    bounds = topic.bounds(settings, topic_info.partitions)
    highest, seen = 0, dict[int, int]()
    if sum(b.end - b.first for b in bounds.values()) > save_threshold:
        highest, seen = _load_progress(settings, topic_info, identity)
    ranges = {partition: (max(first, seen.get(partition, 0)), end) for partition, (first, end) in bounds.items()}
    unread = sum(max(0, end - start) for start, end in ranges.values())
    task = progress.add_task("highest order number", total=unread)
    for partition, (start, end) in ranges.items():
        for count, record in enumerate(topic.read_around_damage(settings, partition, start, end), start=1):
            if (number := _number(record, contract, ids)) < _MAX_NUMBER:
                highest = max(highest, number)
            if not count % _STEP:
                progress.advance(task, _STEP)
    progress.remove_task(task)
    if unread > save_threshold:
        ends = {partition: end for partition, (_, end) in ranges.items()}
        _save_progress(settings, topic_info, f"{identity} {highest}", ends)
    return highest + 1


def _number(record: Record, contract: Contract, ids: OrderIds) -> int:
    number = None if record.key is None else ids.number_of(record.key)
    if number is None:
        try:
            number = ids.number_of(decode(record.value, contract).order_id.encode())
        except RecordRejected:
            return 0
    return number or 0


def _load_progress(settings: Settings, topic_info: TopicInfo, identity: str) -> tuple[int, dict[int, int]]:
    """The highest number of an earlier call, and a dict of partition to its end offset."""
    partitions = [TopicPartition(topic_info.name, partition) for partition in topic_info.partitions]
    highest, seen = 0, {}
    with closing(_consumer(settings)) as consumer:
        try:
            committed = consumer.committed(partitions, timeout=topic.TIMEOUT)
        except KafkaException as exception:
            log.warning(
                "Reading %s from its start; the offsets of group %s are not available: %s",
                topic_info.name,
                GROUP,
                exception.args[0].str(),
            )
            return 0, {}
    for partition in committed:
        stored_identity, _, number = (partition.metadata or "").partition(" ")
        if stored_identity == identity:
            highest, seen[partition.partition] = max(highest, int(number)), partition.offset
    return highest, seen


def _save_progress(settings: Settings, topic_info: TopicInfo, note: str, ends: dict[int, int]) -> None:
    offsets = [TopicPartition(topic_info.name, partition, end, note) for partition, end in ends.items()]
    with closing(_consumer(settings)) as consumer:
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as exception:
            log.warning(
                "The next start reads %s again; group %s was not committed: %s",
                topic_info.name,
                GROUP,
                exception.args[0].str(),
            )


def _consumer(settings: Settings) -> Consumer:
    return Consumer(topic.client_config(settings) | {"group.id": GROUP, "enable.auto.commit": False})
