"""The orders topic as a Kafka client sees it: its identity, its bounds, and its records read one by one."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from orderflow import tls
from orderflow.errors import KafkaRefused, KafkaUnavailable, OffsetsLost, OrderFlowError, TopicMissing
from orderflow.settings import Settings

DEFAULT_PARTITIONS = 3
GROUP = "orderflow-reader"  # the client asks for a name, and for its coordinator, though nobody joins
TIMEOUT = 10.0  # seconds a request may take
_REACH_TIMEOUT = 5.0  # seconds that an attempt to reach a broker waits, if none refuses
_SILENCE = 30.0  # seconds a reader waits for the next records
_LOGIN_REFUSED = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED}
_REFUSALS = _LOGIN_REFUSED | {
    KafkaError._SSL,
    KafkaError._INVALID_ARG,
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
    protocol = settings.kafka_security_protocol
    config: dict[str, str | int | float | bool] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": "orderflow",
        "log_level": 0,  # failures come back as error codes; librdkafka's own lines on stderr repeat them
        "security.protocol": protocol,
    }
    if protocol.startswith("SASL"):
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
        config["sasl.username"] = settings.kafka_sasl_username
        config["sasl.password"] = settings.kafka_password
    if protocol.endswith("SSL"):
        files = {
            "ssl.ca.location": settings.kafka_ssl_ca_location,
            "ssl.certificate.location": settings.kafka_ssl_certificate_location,
            "ssl.key.location": settings.kafka_ssl_key_location,
            "ssl.key.password": settings.kafka_ssl_key_password,
        }
        config |= {name: value for name, value in files.items() if value}
    return config


def reach(settings: Settings) -> None:
    """Return when a broker has answered; where one will not talk to us, say why.

    Raises KafkaRefused, or KafkaUnavailable as soon as it is known that no broker answers, after 5 seconds at most. (A
    request of an admin client only ever times out, whatever the reason.)
    """
    errors: list[KafkaError] = []
    deadline = time.monotonic() + _REACH_TIMEOUT
    try:
        client = Producer(client_config(settings) | {"error_cb": errors.append})
    except KafkaException as exception:
        raise classify(exception.args[0], settings) from exception
    while True:
        try:
            brokers = client.list_topics(timeout=1.0).brokers.values()
        except KafkaException as exception:
            client.poll(0)
            refusals = [error for error in errors if error.code() in _REFUSALS]
            none_left = any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in errors)
            if refusals or none_left or time.monotonic() > deadline:
                for server in settings.kafka_bootstrap_servers.split(","):
                    address = urlsplit(f"//{server.strip()}")
                    _check_tls(settings, address.hostname or "", address.port or 9092, listen=True)
                raise classify([*refusals, *errors, exception.args[0]][0], settings) from None
        else:
            if settings.kafka_security_protocol.endswith("SSL"):
                for broker in brokers:  # the names they advertise, which may not be those of their certificates
                    _check_tls(settings, broker.host, broker.port, listen=False)
            return


def _check_tls(settings: Settings, host: str, port: int, *, listen: bool) -> None:
    """Raises KafkaRefused if TLS is what keeps us from this broker."""
    where = f"Kafka at {host}:{port}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    encrypted, certificate = settings.kafka_security_protocol.endswith("SSL"), settings.kafka_ssl_certificate_location
    if not encrypted:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif settings.kafka_ssl_ca_location:
        context.load_verify_locations(settings.kafka_ssl_ca_location)
    else:
        context.load_default_certs()
    if encrypted and certificate:
        context.load_cert_chain(certificate, settings.kafka_ssl_key_location, settings.kafka_ssl_key_password)
    try:
        tls.shake_hands(context, host, port, listen=listen and encrypted)
    except ssl.SSLCertVerificationError as error:
        what, hint = tls.told(error, host, "KAFKA_SSL_CA_LOCATION", "KAFKA_BOOTSTRAP_SERVERS, advertised.listeners")
        raise KafkaRefused(f"{where} is not trusted: {what}.", hint=hint) from error
    except tls.ClientCertificateRefusedError as error:
        what = "refuses the client certificate" if certificate else "asks for a client certificate"
        raise KafkaRefused(
            f"{where} {what}.", hint="Set KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION to one it trusts."
        ) from error
    except OSError:  # it is away, or speaks no TLS; that is not told apart
        return
    if not encrypted:
        raise KafkaRefused(
            f"{where} speaks TLS, and KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol}.",
            hint="Set KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL.",
        )


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


def grow(settings: Settings, partitions: int) -> TopicInfo:
    """Give the topic so many partitions.

    Raises KafkaRefused (it has as many, or the user may not), KafkaUnavailable.
    """
    name = settings.kafka_topic
    with errors_told(settings):
        _admin(settings).create_partitions([NewPartitions(name, partitions)], request_timeout=TIMEOUT)[name].result()
    deadline = time.monotonic() + TIMEOUT
    while len((info := when_led(settings)).partitions) < partitions and time.monotonic() < deadline:
        time.sleep(0.05)
    return info


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
    if unknown := sorted(partition for partition in partitions if first[partition] < 0 or end[partition] < 0):
        raise KafkaUnavailable(
            f"Kafka at {settings.kafka_bootstrap_servers} knows no end of partition {unknown[0]} now."
        )
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
            "group.id": GROUP,
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
    reach(settings)
    return AdminClient(client_config(settings))


@contextmanager
def errors_told(settings: Settings) -> Iterator[None]:
    """Turns the client's exceptions into ours, by their code."""
    try:
        yield
    except KafkaException as exception:
        error = classify(exception.args[0], settings)
        if settings.kafka_security_protocol != "PLAINTEXT" and not isinstance(error, TopicMissing):
            reach(settings)  # a timeout may be a refusal, and one over TLS has more to say
        raise error from exception


def classify(error: KafkaError, settings: Settings) -> OrderFlowError:
    """The class of error that a client's error code belongs to."""
    where, told = f"Kafka at {settings.kafka_bootstrap_servers}", error.str().rstrip(".")
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return TopicMissing(
            f"Topic {settings.kafka_topic} does not exist on {settings.kafka_bootstrap_servers}.",
            hint="`orderflow init` creates it, or name another in KAFKA_TOPIC.",
        )
    if error.code() in _LOGIN_REFUSED:
        return KafkaRefused(
            f"{where} refuses user {settings.kafka_sasl_username}, by {settings.kafka_sasl_mechanism}: {told}.",
            hint="Check KAFKA_SASL_USERNAME, KAFKA_PASSWORD (or KAFKA_PASSWORD_FILE) and KAFKA_SASL_MECHANISM.",
        )
    if error.code() == KafkaError._INVALID_ARG:
        return KafkaRefused(
            f"{where} cannot be asked: {told}.",
            hint="Check the KAFKA_SSL_… setting of that name, and KAFKA_SSL_KEY_PASSWORD.",
        )
    if error.code() in _REFUSALS:
        return KafkaRefused(
            f"{where} refuses: {told}.",
            hint="Check KAFKA_BOOTSTRAP_SERVERS, and grant the user what `orderflow init --grants` prints.",
        )
    protocol = settings.kafka_security_protocol
    hint = f"If it runs, it may not speak {protocol} there: see KAFKA_SECURITY_PROTOCOL."
    return KafkaUnavailable(f"{where} does not answer: {told}.", hint="" if protocol == "PLAINTEXT" else hint)
