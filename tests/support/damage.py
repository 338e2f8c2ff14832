"""Damage to a broker's files."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import confluent_kafka
from confluent_kafka import Producer

from orderflow import topic
from orderflow.settings import Settings
from tests.support.corpus import numbered

PAYLOAD = -5  # a byte near the end of a batch


class Batch(NamedTuple):
    """Position of a batch in its segment file, and its offsets. `end` is the last offset + 1."""

    position: int
    size: int
    first: int
    end: int


def segment(data: Path, name: str, partition: int = 0) -> Path:
    """Return the path of a partition's first segment file."""
    return data / f"{name}-{partition}" / f"{0:020}.log"


def batches(path: Path) -> list[Batch]:
    """Return all batches of a segment file, found by Kafka's record batch headers (version 2)."""
    data, result, position = path.read_bytes(), [], 0
    while position + 61 <= len(data):
        first, length = struct.unpack_from(">qi", data, position)
        (last_delta,) = struct.unpack_from(">i", data, position + 23)
        if length <= 0:
            break
        result.append(Batch(position, length + 12, first, first + last_delta + 1))
        position += length + 12
    return result


def flip(path: Path, batch: Batch, byte: int = PAYLOAD, bit: int = 0) -> None:
    """Flip one bit of a batch. A negative `byte` counts from the end of the batch."""
    with path.open("r+b") as file:
        file.seek(batch.position + (byte if byte >= 0 else batch.size + byte))
        (value,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([value ^ (1 << bit)]))


def cut_off(path: Path, offset: int) -> None:
    """Truncate a partition of a stopped broker to end at this offset or before. The broker rebuilds the indexes."""
    position = next((batch.position for batch in batches(path) if batch.end > offset), None)
    assert position is not None
    with path.open("r+b") as file:
        file.truncate(position)
    for derived in path.parent.iterdir():
        if derived.suffix in (".index", ".timeindex", ".txnindex", ".snapshot"):
            derived.unlink()


def send_batches(settings: Settings, codec: str, partition: int, batches: int, size: int, start: int = 0) -> None:
    """Send this number of batches of valid orders, numbered from `start`.

    The linger time is longer than any stall of the machine, so only `flush` ends a batch. The producer must know the
    topic before: otherwise its thread may send a part of the first batch while the batch moves to the partition.
    """
    producer = Producer(topic.client_config(settings) | {"compression.type": codec, "linger.ms": 60_000})
    producer.list_topics(settings.kafka_topic)
    for batch in range(batches):
        for index in range(size):
            number = start + batch * size + index
            producer.produce(settings.kafka_topic, key=str(number), value=numbered(number), partition=partition)
        producer.flush()


def send_with_headers(settings: Settings, value: bytes, headers: Sequence[tuple[bytes, bytes | None]]) -> None:
    """Send one record to partition 0. Header names may be any bytes, but confluent_kafka accepts only text."""
    path = next(Path(confluent_kafka.__file__).parent.parent.glob("confluent_kafka.libs/librdkafka*"))
    library = ctypes.CDLL(str(path))
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = library.rd_kafka_headers_new.restype = pointer
    conf = pointer(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", settings.kafka_bootstrap_servers.encode(), None, size(0))
    producer = pointer(library.rd_kafka_new(0, conf, None, size(0)))
    header_list = pointer(library.rd_kafka_headers_new(size(len(headers))))
    for name, text in headers:
        library.rd_kafka_header_add(header_list, name, ctypes.c_ssize_t(-1), text, ctypes.c_ssize_t(len(text or b"")))
    topic_, partition, value_, flags, headers_, end = 1, 3, 4, 7, 10, 0  # rd_kafka_vtype_t
    error = library.rd_kafka_producev(
        *(producer, topic_, settings.kafka_topic.encode(), partition, 0, value_, value, size(len(value))),
        *(flags, 2, headers_, header_list, end),
    )
    assert not error
    assert not library.rd_kafka_flush(producer, 10_000)
    library.rd_kafka_destroy(producer)
