"""Reads headers whose names are not UTF-8. confluent_kafka cannot return them; librdkafka's C interface can.

Such a record is read a second time, through the librdkafka that confluent_kafka has loaded. Rejected: dropping such
headers. Quarantined records are kept unchanged.
"""

from __future__ import annotations

import ctypes
import threading
import time
from functools import cache
from pathlib import Path

from confluent_kafka import Message

from orderflow import topic
from orderflow.errors import KafkaUnavailable
from orderflow.settings import Settings

Header = tuple[str, bytes | None]

_CONSUMER = 1  # rd_kafka_type_t
_NO_CONSUMER_CLOSE = 0x8  # RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE: it is in no group
_MAX_SKIP = 1000  # records to read and discard; a larger distance is a new seek
_TIMEOUT = 10.0  # seconds
_pointer, _size = ctypes.c_void_p, ctypes.c_size_t


class _Record(ctypes.Structure):
    """rd_kafka_message_t"""

    _fields_ = (
        ("err", ctypes.c_int),
        ("topic", _pointer),
        ("partition", ctypes.c_int32),
        ("payload", _pointer),
        ("length", _size),
        ("key", _pointer),
        ("key_length", _size),
        ("offset", ctypes.c_int64),
    )


def read(settings: Settings, message: Message) -> list[Header]:
    """Return a record's headers. Bytes of a name that are not UTF-8 become surrogate escapes, as in os.fsdecode.

    Raises KafkaUnavailable.
    """
    try:
        return list(message.headers() or ())  # type: ignore[arg-type]
    except (SystemError, UnicodeDecodeError):
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None
        return _reader(settings).headers(partition, offset)


def _reader(settings: Settings) -> _Reader:
    """Return the thread's reader. It is reused, because several such records usually follow each other."""
    if getattr(_thread_local, "settings", None) != settings:
        _thread_local.reader, _thread_local.settings = _Reader(settings), settings
    reader: _Reader = _thread_local.reader
    return reader


_thread_local = threading.local()


class _Reader:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._library = library = _library()
        self._client = _pointer()
        conf = _pointer(library.rd_kafka_conf_new())
        for name, value in topic.reader_config(settings).items():
            if not callable(value):
                text = str(value).lower() if isinstance(value, bool) else str(value)
                library.rd_kafka_conf_set(conf, name.encode(), text.encode(), None, _size(0))
        self._client = _pointer(library.rd_kafka_new(_CONSUMER, conf, None, _size(0)))
        if not self._client:  # the machine has no more threads or memory
            raise KafkaUnavailable(f"The Kafka client for {settings.kafka_bootstrap_servers} cannot be created.")
        library.rd_kafka_poll_set_consumer(self._client)
        self._partition, self._next = -1, 0

    def __del__(self) -> None:
        """Destroy the client when its thread ends. Each engine restart creates new threads."""
        if self._client:
            self._library.rd_kafka_destroy_flags(self._client, _NO_CONSUMER_CLOSE)

    def headers(self, partition: int, offset: int) -> list[Header]:
        """Return the headers of the record at this offset. Raises KafkaUnavailable."""
        if partition != self._partition or not self._next <= offset < self._next + _MAX_SKIP:
            self._assign(partition, offset)
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline:
            if not (address := self._library.rd_kafka_consumer_poll(self._client, 100)):
                continue
            record = _Record.from_address(address)
            try:
                if not record.err:
                    self._next = record.offset + 1
                    if record.offset == offset:
                        return self._headers_of(address)
            finally:
                self._library.rd_kafka_message_destroy(_pointer(address))
        self._partition = -1
        raise KafkaUnavailable(
            f"Kafka at {self._settings.kafka_bootstrap_servers} sent nothing from {self._settings.kafka_topic}"
            f" partition {partition} for {_TIMEOUT:g} seconds, starting at offset {offset}."
        )

    def _assign(self, partition: int, offset: int) -> None:
        name = self._settings.kafka_topic.encode()
        wanted = _pointer(self._library.rd_kafka_topic_partition_list_new(1))
        self._library.rd_kafka_topic_partition_list_add(wanted, name, partition)
        self._library.rd_kafka_topic_partition_list_set_offset(wanted, name, partition, ctypes.c_int64(offset))
        self._library.rd_kafka_assign(self._client, wanted)
        self._library.rd_kafka_topic_partition_list_destroy(wanted)
        self._partition, self._next = partition, offset

    def _headers_of(self, address: int) -> list[Header]:
        header_list = _pointer()
        if self._library.rd_kafka_message_headers(_pointer(address), ctypes.byref(header_list)):
            return []
        name, value, size = ctypes.c_char_p(), _pointer(), _size()
        fields = ctypes.byref(name), ctypes.byref(value), ctypes.byref(size)
        headers: list[Header] = []
        while not self._library.rd_kafka_header_get_all(header_list, _size(len(headers)), *fields):
            text = (name.value or b"").decode(errors="surrogateescape")
            headers.append((text, None if value.value is None else ctypes.string_at(value.value, size.value)))
        return headers


@cache
def _library() -> ctypes.CDLL:
    """Return the librdkafka that this process has loaded."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    library = ctypes.CDLL(next(line.split(maxsplit=5)[5] for line in lines if "librdkafka" in line))
    for function in ("conf_new", "new", "topic_partition_list_new", "topic_partition_list_add", "consumer_poll"):
        getattr(library, f"rd_kafka_{function}").restype = _pointer
    return library
