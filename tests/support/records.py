"""Records of a topic: sent, deleted, lost, and stored by the store's own writer without a sink."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from orderflow import topic
from orderflow.positions.kafka_topic_reader import KafkaTopicReader
from orderflow.settings import Settings
from orderflow.store import ledger, schema
from orderflow.store.connection import Connection
from orderflow.store.record_batch import RecordBatch
from orderflow.store.writer import Writer


def order(number: int, **changed: object) -> bytes:
    """Return the order of this number. `changed` replaces and adds fields."""
    fields: dict[str, object] = {
        "customer_id": 50_000 + number,
        "order_id": f"ORDER-{number:06d}",
        "product_name": "Yoga Mat",
        "product_category": "Sports & Outdoors",
        "unit_price": 45.99,
        "quantity": 2,
        "total_price": 91.98,
        "order_timestamp": f"2025-01-15T14:{number % 60:02d}:45",
    }
    return json.dumps(fields | changed).encode()


def send(settings: Settings, values: Sequence[bytes | None], partition: int = 0, key: bytes | None = b"key") -> None:
    """Send values to a partition. A missing topic is created."""
    topic.get_or_create(settings)
    producer = Producer(topic.client_config(settings))
    for value in values:
        producer.produce(settings.kafka_topic, value=value, key=key, partition=partition)
    assert producer.flush(30) == 0


def store(settings: Settings) -> None:
    """Store the topic's new records."""
    with writer(settings) as store_new:
        store_new()


@contextmanager
def writer(settings: Settings) -> Iterator[Callable[[], int]]:
    """Yield a function that stores the topic's new records and returns their number."""
    info = topic.get_or_create(settings)
    schema.prepare(settings)
    topic_reader = KafkaTopicReader(settings, info.topic_id)
    with Writer(settings, topic_reader) as writing, Connection(settings) as connection:

        def store() -> int:
            bounds = topic.bounds(settings, info.partitions)
            first = {number: bound.first for number, bound in bounds.items()}
            count = 0
            for number, start in ledger.ensure_partitions(connection, info.name, info.topic_id, first).items():
                records = list(topic.read(settings, number, start, bounds[number].end))
                count += len(records)
                if records:
                    _, offsets, timestamps, keys, values = zip(*records, strict=True)
                    writing.commit(RecordBatch([number] * len(offsets), offsets, timestamps, keys, values))
            return count

        yield store


def lose(settings: Settings, partition: int, count: int) -> None:
    """Send records and delete them from the topic before the sink reads them."""
    send(settings, [order(100 + number) for number in range(count)], partition)
    coordinates = TopicPartition(settings.kafka_topic, partition, topic.bounds(settings, [partition])[partition].end)
    delete_before(settings, coordinates)


def delete_before(settings: Settings, coordinates: TopicPartition) -> None:
    """Delete the partition's records before this offset, as retention does."""
    admin = AdminClient(topic.client_config(settings))
    admin.delete_records([coordinates])[coordinates].result()


def delete_topic(settings: Settings) -> None:
    """Delete the topic."""
    admin = AdminClient(topic.client_config(settings))
    admin.delete_topics([settings.kafka_topic])[settings.kafka_topic].result()


def configure_topic(settings: Settings, name: str, value: str) -> None:
    """Set an entry of the topic's configuration."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, settings.kafka_topic, incremental_configs=[entry])
    admin = AdminClient(topic.client_config(settings))  # a collected client cancels its requests
    admin.incremental_alter_configs([resource])[resource].result()
