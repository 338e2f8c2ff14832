"""The orders topic as a Kafka client sees it: its identity, its bounds, and its records read one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from orderflow.errors import KafkaRefused, KafkaUnavailable, OffsetsLost, OrderFlowError, TopicMissing
from orderflow.settings import Settings

DEFAULT_PARTITIONS = 3
TIMEOUT = 10.0  # seconds a request may take
_SILENCE = 30.0  # seconds a reader waits for the next records
_REFUSALS = {
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError._INVALID_ARG,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,  # an invalid name
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_REPLICATION_FACTOR,
}


class TopicInfo(NamedTuple):
    """A topic's identity. `topic_id` changes when a topic is deleted and made again under its old name."""

    name: str
    topic_id: str
    partitions: tuple[int, ...]


class Bounds(NamedTuple):
    """What can be read of a partition: from offset `first` up to, without, offset `end` (the last stable one)."""

    first: int
    end: int


class Record(NamedTuple):
    """One Kafka record, raw. `timestamp` is in milliseconds since 1970 UTC."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def client_config(settings: Settings) -> dict[str, str | int | float | bool]:
    """librdkafka's configuration that producer, consumer and admin client have in common."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": "orderflow",
        "log_level": 0,  # failures come back as error codes; librdkafka's own lines on stderr repeat them
    }


def describe(settings: Settings) -> TopicInfo:
    """Who the topic is.

    Raises TopicMissing, KafkaUnavailable, KafkaRefused.
    """
    name = settings.kafka_topic
    with errors_told(settings):
        answer = _admin(settings).describe_topics(TopicCollection([name]), request_timeout=TIMEOUT)
        found = answer[name].result()
    return TopicInfo(name, str(found.topic_id), tuple(sorted(part.id for part in found.partitions)))


def ensure(settings: Settings) -> TopicInfo:
    """The topic, made with 3 partitions if it is missing and the broker lets clients make topics unasked.

    Raises TopicMissing where it may not be made, KafkaUnavailable, KafkaRefused.
    """
    try:
        describe(settings)
    except TopicMissing as missing:
        if not _auto_creation(settings):
            raise TopicMissing(
                f"{missing.message[:-1]}, and auto.create.topics.enable is off there.", hint=missing.hint
            ) from missing
        return create(settings)
    return when_led(settings)  # another process may have made it this moment


def create(settings: Settings, partitions: int = DEFAULT_PARTITIONS) -> TopicInfo:
    """Make the topic, with the broker's own replication factor.

    Raises TopicMissing where the broker refuses, KafkaUnavailable.
    """
    name = settings.kafka_topic
    wanted = NewTopic(name, num_partitions=partitions, replication_factor=-1)
    try:
        _admin(settings).create_topics([wanted], request_timeout=TIMEOUT)[name].result()
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if error.code() in _REFUSALS:
            raise TopicMissing(
                f"Topic {name} does not exist on {settings.kafka_bootstrap_servers} and could not be made:"
                f" {error.str()}.",
                hint=f"Have it made with {partitions} partitions, or name another in KAFKA_TOPIC.",
            ) from exception
        if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process was quicker
            raise classify(error, settings) from exception
    return when_led(settings)


def _auto_creation(settings: Settings) -> bool:
    """What the broker's administrator wants; True where the broker does not tell."""
    admin = _admin(settings)
    with errors_told(settings):
        broker = str(next(iter(admin.list_topics(timeout=TIMEOUT).brokers)))
    resource = ConfigResource(ConfigResource.Type.BROKER, broker)
    try:
        with errors_told(settings):
            found = admin.describe_configs([resource], request_timeout=TIMEOUT)[resource].result()
    except KafkaRefused:
        return True
    return str(found["auto.create.topics.enable"].value) == "true"


def when_led(settings: Settings) -> TopicInfo:
    """The topic, once each partition can be asked; for a topic just made, or a broker just started.

    Raises TopicMissing, KafkaUnavailable, after 10 seconds; KafkaRefused.
    """
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            info = describe(settings)
            bounds(settings, info.partitions)
        except (TopicMissing, KafkaUnavailable):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return info


def bounds(settings: Settings, partitions: Sequence[int]) -> dict[int, Bounds]:
    """Partition to what can be read of it, read_committed.

    Raises TopicMissing, KafkaUnavailable, KafkaRefused.
    """
    admin = _admin(settings)

    def ask(spec: OffsetSpec) -> dict[int, int]:
        wanted = {TopicPartition(settings.kafka_topic, partition): spec for partition in partitions}
        answers = admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT)
        return {where.partition: future.result().offset for where, future in answers.items()}

    with errors_told(settings):
        first, end = ask(OffsetSpec.earliest()), ask(OffsetSpec.latest())  # type: ignore[no-untyped-call]
    return {partition: Bounds(first[partition], end[partition]) for partition in partitions}


def read(settings: Settings, partition: int, start: int, end: int) -> Iterator[Record]:
    """The committed records of one partition with `start` <= offset < `end`, in order.

    Offsets that hold no record (transaction markers, aborted or compacted records) are passed over.
    Raises OffsetsLost if the range has left the topic, KafkaUnavailable if nothing comes for 30 seconds.
    """
    if start < end:
        with errors_told(settings), closing(consumer(settings)) as reader:
            yield from _read(reader, settings, partition, start, end)


def holds_records(settings: Settings, partition: int, start: int, end: int) -> bool:
    """Whether `read` would find anything. The thread's client is kept: this is asked behind each transaction."""
    if getattr(_kept, "settings", None) != settings:
        _kept.reader, _kept.settings = consumer(settings, **{"fetch.message.max.bytes": 10_000}), settings
    reader: Consumer = _kept.reader
    with errors_told(settings):
        try:
            return any(True for _ in _read(reader, settings, partition, start, end))
        finally:
            reader.unassign()  # or it would go on fetching


_kept = threading.local()


def _read(reader: Consumer, settings: Settings, partition: int, start: int, end: int) -> Iterator[Record]:
    reader.assign([TopicPartition(settings.kafka_topic, partition, start)])
    while True:
        first = reader.poll(_SILENCE)
        if first is None:
            raise KafkaUnavailable(
                f"Kafka at {settings.kafka_bootstrap_servers} sent nothing of {settings.kafka_topic}"
                f" partition {partition} for {_SILENCE:g} seconds."
            )
        # What else has arrived by now: with a timeout, consume would wait for all 10,000.
        for message in (first, *reader.consume(10_000, timeout=0)):
            if (error := message.error()) is not None and error.code() == KafkaError._PARTITION_EOF:
                # The end that Kafka lets a read_committed reader see; what lies before it has been read.
                return
            if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise OffsetsLost(
                    f"Offset {start} of {settings.kafka_topic} partition {partition} is not in the topic.",
                    hint="Retention or a deletion removed it; see `orderflow status`.",
                )
            if error is not None:
                raise KafkaException(error)
            record = _record(message)
            if record.offset >= end:
                return
            yield record
            if record.offset + 1 == end:  # the broker tells the end only after half a second of waiting
                return


def follow(settings: Settings, *, from_beginning: bool) -> Iterator[Record]:
    """Committed records of all partitions as they come, for ever. A broker that is away is waited for.

    Raises TopicMissing, KafkaRefused.
    """
    info = describe(settings)
    start = OFFSET_BEGINNING if from_beginning else OFFSET_END
    with errors_told(settings), closing(consumer(settings)) as reader:
        reader.assign([TopicPartition(info.name, partition, start) for partition in info.partitions])
        while True:
            for message in reader.consume(1_000, timeout=0.2):
                error = message.error()
                if error is None:
                    yield _record(message)
                elif error.code() in _REFUSALS or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise KafkaException(error)


def consumer(settings: Settings, **more: str | int | bool) -> Consumer:
    """A client that reads committed records of the partitions it is assigned, and joins no group."""
    return Consumer(
        client_config(settings)
        | {
            "group.id": "orderflow-reader",  # required by the client
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
        }
        | more
    )


def _record(message: Message) -> Record:
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None
    key, value = message.key(), message.value()
    return Record(partition, offset, message.timestamp()[1], _raw(key), _raw(value))


def _raw(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data


@lru_cache(maxsize=1)
def _admin(settings: Settings) -> AdminClient:
    """Kept: a client ends its pending requests when it is collected, and connecting takes longer than asking."""
    return AdminClient(client_config(settings))


@contextmanager
def errors_told(settings: Settings) -> Iterator[None]:
    """Turns the client's exceptions into ours, by their code."""
    try:
        yield
    except KafkaException as exception:
        raise classify(exception.args[0], settings) from exception


def classify(error: KafkaError, settings: Settings) -> OrderFlowError:
    """The class of error that a client's error code belongs to."""
    where = f"Kafka at {settings.kafka_bootstrap_servers}"
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return TopicMissing(
            f"Topic {settings.kafka_topic} does not exist on {settings.kafka_bootstrap_servers}.",
            hint="`orderflow init` creates it, or name another in KAFKA_TOPIC.",
        )
    if error.code() in _REFUSALS:
        return KafkaRefused(
            f"{where} refuses: {error.str()}.", hint="Check KAFKA_BOOTSTRAP_SERVERS and the user's rights."
        )
    return KafkaUnavailable(f"{where} does not answer: {error.str()}.")
