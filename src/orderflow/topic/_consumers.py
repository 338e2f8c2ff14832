"""Creates and closes the consumers that join no group, and converts their messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition

from orderflow.settings import Settings
from orderflow.topic._connection import TIMEOUT, client_config

GROUP = "orderflow-reader"  # librdkafka requires a group name and queries its coordinator, although no client joins
_MAX_FETCH_BYTES = 4 * 1024 * 1024  # per response: on a slow network the position does not move during a response
_CLOSE_TIMEOUT = 5.0  # seconds
_OLDER_END_TIMEOUT = 2.0  # seconds


class Record(NamedTuple):
    """One raw Kafka record. `timestamp` is in milliseconds since 1970 UTC."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def consumer(settings: Settings, **overrides: Any) -> Consumer:
    """Return a client that reads committed records of its assigned partitions and joins no group."""
    return Consumer(reader_config(settings) | overrides)


@contextmanager
def open_consumer(settings: Settings, **overrides: Any) -> Iterator[Consumer]:
    reader = consumer(settings, **overrides)
    try:
        yield reader
    finally:
        close(reader)


def close(reader: Consumer) -> None:
    """Close the client, or abandon it after 5 seconds.

    librdkafka 2.16 can deadlock on close while one of its threads resets an offset (rd_kafka_offset_reset), which
    happens after a damaged batch. Observed about once in some hundred closes.
    """
    closer = threading.Thread(target=reader.close, name="close-consumer", daemon=True)
    closer.start()
    closer.join(_CLOSE_TIMEOUT)


def reader_config(settings: Settings) -> dict[str, Any]:
    """The librdkafka configuration of each reader. It verifies checksums, which librdkafka does not do by default."""
    return client_config(settings) | {
        "group.id": GROUP,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "check.crcs": True,
        # While it cannot return a message of a partition, librdkafka doubles the fetch size, up to 100 MB.
        "fetch.max.bytes": _MAX_FETCH_BYTES,
        "isolation.level": "read_committed",
    }


def high_watermark(reader: Consumer, settings: Settings, partition: int) -> int | None:
    """The partition's end at the reader's last fetch; None before the first fetch."""
    watermarks = reader.get_watermark_offsets(TopicPartition(settings.kafka_topic, partition), cached=True)
    return None if watermarks is None or watermarks[1] < 0 else watermarks[1]


def end_after(reader: Consumer, settings: Settings, partition: int, offset: int) -> int | None:
    """The partition's end, which is after `offset` if the partition has that offset; None before the first fetch.

    The end of the last fetch may be older than a record that was fetched before: a broker that has just restarted
    briefly reports an older end. So the broker is asked again for up to 2 seconds.
    Raises KafkaException.
    """
    end = high_watermark(reader, settings, partition)
    deadline = time.monotonic() + _OLDER_END_TIMEOUT
    while end is not None and end <= offset and time.monotonic() < deadline:
        wanted = TopicPartition(settings.kafka_topic, partition)
        watermarks = reader.get_watermark_offsets(wanted, timeout=TIMEOUT, cached=False)
        end = watermarks[1] if watermarks else end
        if end <= offset:
            time.sleep(0.1)
    return end


def as_record(message: Message) -> Record:
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None
    key, value = message.key(), message.value()
    return Record(partition, offset, message.timestamp()[1], _as_bytes(key), _as_bytes(value))


def _as_bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
