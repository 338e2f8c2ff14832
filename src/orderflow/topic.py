"""Access to the orders topic with a Kafka client: its identity, its offsets and its records."""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar
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
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec

from orderflow import tls
from orderflow.errors import (
    BatchBroken,
    KafkaRefused,
    KafkaUnavailable,
    OffsetsLost,
    OrderFlowError,
    TopicMissing,
    TopicUnusable,
)
from orderflow.offsets import DamagedError, DamagedRange, OffsetRange, check_offset
from orderflow.settings import Settings

log = logging.getLogger(__name__)

DEFAULT_PARTITIONS = 3
GROUP = "orderflow-reader"  # librdkafka requires a group name and queries its coordinator, although no client joins
TIMEOUT = 10.0  # seconds per request
_NO_ID = "A" * 22  # how a Uuid of zeros is written: brokers without topic ids return it
_CONNECTION_TIMEOUT = 5.0  # seconds to wait for a broker's answer, if no broker refuses
STALL_TIMEOUT = 30.0  # seconds that a reader waits while its position in the partition does not move
# Seconds without an answer after which a gap is read by a client for long ranges, which observes its own progress.
GAP_STALL_TIMEOUT = 3.0
_EARLY_END_TIMEOUT = 1.0  # seconds that a reader waits after an end of partition before the requested end
_MAX_FETCH_BYTES = 4 * 1024 * 1024  # per response: on a slow network the position does not move during a response
_PROBE_BYTES = 10_000  # per fetch that looks for one record
_STATISTICS = {"statistics.interval.ms": 1000}
# A damaged batch has a wrong checksum, compressed bytes or version; or the broker itself cannot read it.
_DAMAGE_CODES = {
    KafkaError._BAD_MSG,
    KafkaError._BAD_COMPRESSION,
    KafkaError._NOT_IMPLEMENTED,
    KafkaError._UNDERFLOW,
    KafkaError.INVALID_MSG,
}
_CLOSE_TIMEOUT = 5.0  # seconds
_LOGIN_REFUSAL_CODES = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED}
_REFUSAL_CODES = _LOGIN_REFUSAL_CODES | {
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
# Codes whose actual reason is known only after a connection test.
_AMBIGUOUS_CODES = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._SSL}
_FAILURE_MAX_AGE = 60.0  # seconds for which a broker's failure is used to explain a timeout


_Found = TypeVar("_Found")


class TopicInfo(NamedTuple):
    """A topic's identity. `topic_id` changes when a topic is deleted and created again with the same name."""

    name: str
    topic_id: str
    partitions: tuple[int, ...]


class Bounds(NamedTuple):
    """The readable offsets of a partition: `first` <= offset < `end`; `end` is the last stable offset."""

    first: int
    end: int


class Record(NamedTuple):
    """One raw Kafka record. `timestamp` is in milliseconds since 1970 UTC."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def client_config(settings: Settings) -> dict[str, Any]:
    """The librdkafka configuration that producer, consumer and admin client share."""
    protocol = settings.kafka_security_protocol
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "error_cb": partial(_record_failure, settings.kafka_bootstrap_servers),
        "client.id": "orderflow",
        "log_level": 0,  # failures are returned as error codes; librdkafka's log on stderr only repeats them
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


def check_connection(settings: Settings) -> None:
    """Check that a broker answers.

    Raises KafkaRefused with the reason of a refusal. Raises KafkaUnavailable as soon as no broker answers, after at
    most 5 seconds. (A request of an admin client only times out, whatever the reason.)
    """
    errors: list[KafkaError] = []
    deadline = time.monotonic() + _CONNECTION_TIMEOUT
    try:
        client = Producer(client_config(settings) | {"error_cb": errors.append})
    except KafkaException as exception:
        raise classify(exception.args[0], settings) from exception
    while True:
        try:
            brokers = client.list_topics(timeout=1.0).brokers.values()
        except KafkaException as exception:
            client.poll(0)
            refusals = [error for error in errors if error.code() in _REFUSAL_CODES]
            none_left = any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in errors)
            if refusals or none_left or time.monotonic() > deadline:
                for server in settings.kafka_bootstrap_servers.split(","):
                    address = urlsplit(f"//{server.strip()}")
                    _check_tls(settings, address.hostname or "", address.port or 9092, await_refusal=True)
                raise classify([*refusals, *errors, exception.args[0]][0], settings) from None
        else:
            if settings.kafka_security_protocol.endswith("SSL"):
                for broker in brokers:  # their certificates may lack the advertised host names
                    _check_tls(settings, broker.host, broker.port, await_refusal=False)
            return


def _check_tls(settings: Settings, host: str, port: int, *, await_refusal: bool) -> None:
    """Raises KafkaRefused if TLS prevents the connection to this broker."""
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
        tls.handshake(context, host, port, await_refusal=await_refusal and encrypted)
    except ssl.SSLCertVerificationError as error:
        what, hint = tls.explain(error, host, "KAFKA_SSL_CA_LOCATION", "KAFKA_BOOTSTRAP_SERVERS, advertised.listeners")
        raise KafkaRefused(f"{where} is not trusted: {what}.", hint=hint) from error
    except tls.ClientCertificateRefusedError as error:
        what = "refuses the client certificate" if certificate else "requires a client certificate"
        raise KafkaRefused(
            f"{where} {what}.",
            hint="Set KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION to a certificate that it trusts.",
        ) from error
    except OSError:  # the broker is down, or does not use TLS; the two are not distinguished
        return
    if not encrypted:
        raise KafkaRefused(
            f"{where} uses TLS, but KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol}.",
            hint="Set KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL.",
        )


def describe(settings: Settings) -> TopicInfo:
    """Return the topic's identity.

    Raises TopicMissing, TopicUnusable (it has no id), KafkaUnavailable, KafkaRefused.
    """
    return request_description(settings)()


def request_description(settings: Settings) -> Callable[[], TopicInfo]:
    """Request the topic's identity. The returned function waits for the answer.

    Both raise what `describe` raises.
    """
    name, admin = settings.kafka_topic, _admin(settings)
    with translate_errors(settings, admin):
        answer = admin.describe_topics(TopicCollection([name]), request_timeout=TIMEOUT)[name]

    def wait() -> TopicInfo:
        with translate_errors(settings, admin):
            found = answer.result()
        if found.topic_id is None or str(found.topic_id) == _NO_ID:
            raise TopicUnusable(
                f"Kafka at {settings.kafka_bootstrap_servers} gives topic {name} no id, so OrderFlow could not notice"
                " that it was deleted and created again.",
                hint="Upgrade the brokers to Kafka 2.8 or newer. With ZooKeeper, inter.broker.protocol.version must be"
                " 2.8 or newer too: existing topics then get an id.",
            )
        return TopicInfo(name, str(found.topic_id), tuple(sorted(part.id for part in found.partitions)))

    return wait


def get_or_create(settings: Settings) -> TopicInfo:
    """Return the topic. Create it with 3 partitions if it is missing and auto.create.topics.enable is on.

    Raises TopicMissing if it must not be created, and what `describe` raises.
    """
    try:
        describe(settings)
    except TopicMissing as missing:
        if not _can_auto_create(settings):
            raise TopicMissing(
                f"{missing.message[:-1]}, and the broker has auto.create.topics.enable=false.", hint=missing.hint
            ) from missing
        return create(settings)
    return wait_for_leaders(settings)  # another process may have just created it


def create(settings: Settings, partitions: int = DEFAULT_PARTITIONS) -> TopicInfo:
    """Create the topic with the broker's default replication factor, and without compaction.

    Raises TopicMissing if the broker refuses, KafkaUnavailable.
    """
    name = settings.kafka_topic
    not_compacted = {"cleanup.policy": "delete"}  # whatever the broker's default is
    wanted = NewTopic(name, num_partitions=partitions, replication_factor=-1, config=not_compacted)
    try:
        _admin(settings).create_topics([wanted], request_timeout=TIMEOUT)[name].result()
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if error.code() in _REFUSAL_CODES:
            raise TopicMissing(
                f"Topic {name} does not exist on {settings.kafka_bootstrap_servers} and could not be created:"
                f" {error.str()}.",
                hint=f"Have it created with {partitions} partitions, or set KAFKA_TOPIC to another topic.",
            ) from exception
        if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process was faster
            raise classify(error, settings) from exception
    return wait_for_leaders(settings)


def add_partitions(settings: Settings, partitions: int) -> TopicInfo:
    """Increase the topic's number of partitions to `partitions`.

    Raises KafkaRefused (the topic already has as many, or the user lacks the right), KafkaUnavailable.
    """
    name = settings.kafka_topic
    with translate_errors(settings):
        _admin(settings).create_partitions([NewPartitions(name, partitions)], request_timeout=TIMEOUT)[name].result()
    deadline = time.monotonic() + TIMEOUT
    while len((info := wait_for_leaders(settings)).partitions) < partitions and time.monotonic() < deadline:
        time.sleep(0.05)
    return info


def _can_auto_create(settings: Settings) -> bool:
    """Whether the broker has auto.create.topics.enable; True if the user may not read the broker's configuration."""
    with translate_errors(settings):
        broker = str(next(iter(_admin(settings).list_topics(timeout=TIMEOUT).brokers)))
    resource = ConfigResource(ConfigResource.Type.BROKER, broker)
    return _config(settings, resource, "auto.create.topics.enable") in ("true", None)


def _config(settings: Settings, resource: ConfigResource, name: str) -> str | None:
    """Return a value of a broker's or topic's configuration; None if it has none, or the user may not read it."""
    admin = _admin(settings)
    try:
        with translate_errors(settings, admin):
            found = admin.describe_configs([resource], request_timeout=TIMEOUT)[resource].result()
    except KafkaRefused:
        return None
    return str(found[name].value) if name in found else None


def check_cleanup_policy(settings: Settings) -> str | None:
    """Return the topic's cleanup.policy; None if the user may not read it.

    Raises TopicUnusable if the topic is compacted: the offsets of removed records look like those of transaction
    markers, so no reader notices what is missing. Also raises TopicMissing, KafkaUnavailable.
    """
    name = settings.kafka_topic
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    policy = _retry(lambda: _config(settings, resource, "cleanup.policy"))
    if "compact" in (policy or ""):
        raise TopicUnusable(
            f"Topic {name} has cleanup.policy={policy}: Kafka removes a record when a later one has the same key, even"
            " if it is not stored yet.",
            hint=f"Run `kafka-configs.sh --bootstrap-server {settings.kafka_bootstrap_servers} --alter --topic {name}"
            " --add-config cleanup.policy=delete`. Orders that Kafka has removed already must be sent again.",
        )
    return policy


def wait_for_leaders(settings: Settings) -> TopicInfo:
    """Wait until each partition has a leader, after a topic was created or a broker started. Return the topic.

    Raises TopicMissing or KafkaUnavailable after 10 seconds, and KafkaRefused.
    """

    def look() -> TopicInfo:
        info = describe(settings)
        bounds(settings, info.partitions)
        return info

    return _retry(look)


def _retry(look: Callable[[], _Found]) -> _Found:
    """Return what `look` returns. Repeat it for 10 seconds: brokers learn of a new topic one after another."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return look()
        except (TopicMissing, KafkaUnavailable):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def bounds(settings: Settings, partitions: Sequence[int]) -> dict[int, Bounds]:
    """Return the readable offsets by partition, with isolation level read_committed.

    Raises TopicMissing, KafkaUnavailable, KafkaRefused.
    """
    admin = _admin(settings)

    def ask(spec: OffsetSpec) -> dict[int, int]:
        wanted = {TopicPartition(settings.kafka_topic, partition): spec for partition in partitions}
        answers = admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT)
        return {where.partition: future.result().offset for where, future in answers.items()}

    with translate_errors(settings, admin):
        first, end = ask(OffsetSpec.earliest()), ask(OffsetSpec.latest())  # type: ignore[no-untyped-call]
    if unknown := sorted(partition for partition in partitions if first[partition] < 0 or end[partition] < 0):
        raise KafkaUnavailable(
            f"Kafka at {settings.kafka_bootstrap_servers} does not know the end of {settings.kafka_topic} partition"
            f" {unknown[0]} now."
        )
    return {partition: Bounds(first[partition], end[partition]) for partition in partitions}


def read(
    settings: Settings, partition: int, start: int, end: int, *, stall_timeout: float = STALL_TIMEOUT
) -> Iterator[Record]:
    """Yield all committed records of one partition with `start` <= offset < `end`, in order; or raise an error.

    Offsets without a record (transaction markers, aborted or compacted records) are skipped.
    Raises OffsetsLost if the range is no longer in the topic and BatchBroken if a batch is damaged. Raises
    KafkaUnavailable if the partition now ends before `end`, or if reading makes no progress for `stall_timeout`
    seconds.
    """
    if start < end:
        progress = _Progress(stall_timeout, settings.kafka_topic, partition)
        config = {"stats_cb": progress.on_statistics} | _STATISTICS
        with translate_errors(settings), _open_consumer(settings, **config) as reader:
            yield from _read(reader, settings, partition, OffsetRange(start, end), progress)


def records_at(settings: Settings, offsets: Mapping[int, int]) -> dict[int, Record]:
    """Return the committed record at one offset of each partition. All are read by one client.

    A partition is left out if it has no such record (compacted, or gone), or if it cannot be read there now.
    Raises KafkaRefused.
    """
    found: dict[int, Record] = {}
    unread, deadline = dict(offsets), time.monotonic() + TIMEOUT
    # The end of a partition is only reported after a fetch without records.
    config = {"fetch.message.max.bytes": _PROBE_BYTES, "fetch.wait.max.ms": 10}
    with translate_errors(settings), _open_consumer(settings, **config) as reader:
        reader.assign([TopicPartition(settings.kafka_topic, *where) for where in offsets.items()])
        while unread and time.monotonic() < deadline:
            for message in _poll_messages(reader, 0.25):
                partition, error = message.partition(), message.error()
                if error is not None and error.code() in _REFUSAL_CODES:
                    raise KafkaException(error)
                if partition in unread and unread.pop(partition) == message.offset() and error is None:
                    found[partition] = _record(message)
    return found


def holds_records(
    settings: Settings,
    partition: int,
    start: int,
    end: int,
    *,
    gap_stall_timeout: float = GAP_STALL_TIMEOUT,
    stall_timeout: float = STALL_TIMEOUT,
) -> bool:
    """Whether a committed record can be read with `start` <= offset < `end`.

    All other code calls this function for that check. If no answer arrives for `gap_stall_timeout` seconds, `read`
    searches the range, with `stall_timeout`. Raises what `read` raises if the answer is not known now.
    """
    if start >= end:
        return False
    unread = OffsetRange(start, end)
    try:
        # Each thread keeps its client, because this check runs after each transaction of a producer.
        if getattr(_thread_local, "settings", None) != settings:
            _thread_local.reader, _thread_local.settings = (
                consumer(settings, **{"fetch.message.max.bytes": _PROBE_BYTES}),
                settings,
            )
        reader: Consumer = _thread_local.reader
        with translate_errors(settings):
            try:
                return any(True for _ in _read(reader, settings, partition, unread, _Progress(gap_stall_timeout)))
            finally:
                reader.unassign()  # otherwise it would continue to fetch
    except BatchBroken:
        _thread_local.settings = None  # its client may continue at a wrong offset
        raise
    except _StalledError:
        return any(True for _ in read(settings, partition, unread.position, end, stall_timeout=stall_timeout))


_thread_local = threading.local()


class _StalledError(KafkaUnavailable):
    """A reader has made no progress for too long."""


class _Progress:
    """Tracks a reader's progress by the client's own position, because aborted transactions return no record."""

    def __init__(self, stall_timeout: float, topic: str = "", partition: int = 0) -> None:
        """`stall_timeout` is in seconds without progress."""
        self.stall_timeout = stall_timeout
        self._topic, self._partition = topic, str(partition)
        self._next_offset = -1
        self.moved_at = time.monotonic()

    def on_statistics(self, text: str) -> None:
        found = json.loads(text)["topics"].get(self._topic, {}).get("partitions", {}).get(self._partition, {})
        if found.get("next_offset", -1) != self._next_offset:
            self._next_offset = found["next_offset"]
            self.moved_at = time.monotonic()


def _read(
    reader: Consumer, settings: Settings, partition: int, unread: OffsetRange, progress: _Progress
) -> Iterator[Record]:
    reader.assign([TopicPartition(settings.kafka_topic, partition, unread.position)])
    progress.moved_at = time.monotonic()
    while not unread.is_known:
        for message in _poll_messages(reader, 0.25):
            progress.moved_at = time.monotonic()
            if (error := message.error()) is not None:
                _handle_error(settings, partition, unread, error, message.offset())
                continue
            record = _record(message)
            try:
                hole = record.offset != unread.position
                if unread.on_record(record.offset, high_watermark(reader, settings, partition) if hole else None):
                    yield record
            except DamagedError as damaged:
                raise damaged_batch_error(settings, partition, unread.position, str(damaged)) from damaged
            if unread.is_known:  # the broker would report the end only after half a second
                break
        else:
            _check_progress(settings, partition, unread, time.monotonic() - progress.moved_at, progress.stall_timeout)


def _poll_messages(reader: Consumer, seconds: float) -> list[Message]:
    """Return the messages that have arrived, or wait up to `seconds` for the first one.

    (`consume` alone would wait until it has the maximum number of messages.)
    """
    first = reader.poll(seconds)
    return [] if first is None else [first, *reader.consume(10_000, timeout=0)]


def _handle_error(
    settings: Settings, partition: int, unread: OffsetRange, error: KafkaError, offset: int | None
) -> None:
    if error.code() == KafkaError._PARTITION_EOF:
        assert offset is not None
        unread.on_end(offset)  # the end for a read_committed reader; all records before it have been read
    elif error.code() in _DAMAGE_CODES:
        raise damaged_batch_error(settings, partition, unread.position, error.str())
    elif error.code() == KafkaError._AUTO_OFFSET_RESET:
        found = bounds(settings, [partition])[partition]
        if unread.position >= found.first:
            raise _early_end_error(settings, partition, found.end, unread.position)
        raise OffsetsLost(
            f"Offset {unread.position} of {settings.kafka_topic} partition {partition} is not in the topic.",
            hint="Retention or a deletion has removed it; see `orderflow status`.",
        )
    else:
        raise KafkaException(error)


def _check_progress(
    settings: Settings, partition: int, unread: OffsetRange, seconds: float, stall_timeout: float
) -> None:
    if unread.early_end is not None and seconds > _EARLY_END_TIMEOUT:
        raise _early_end_error(settings, partition, unread.early_end, unread.end)
    if seconds > stall_timeout:
        raise _StalledError(
            f"Kafka at {settings.kafka_bootstrap_servers} sent nothing from {settings.kafka_topic}"
            f" partition {partition} for {seconds:.0f} seconds, starting at offset {unread.position}."
        )


def _early_end_error(settings: Settings, partition: int, found: int, wanted: int) -> KafkaUnavailable:
    return KafkaUnavailable(
        f"{settings.kafka_topic} partition {partition} ends at offset {found} now, before offset {wanted}. The records"
        " between them are not known yet."
    )


def high_watermark(reader: Consumer, settings: Settings, partition: int) -> int | None:
    """The partition's end at the reader's last fetch; None before the first fetch."""
    found = reader.get_watermark_offsets(TopicPartition(settings.kafka_topic, partition), cached=True)
    return None if found is None or found[1] < 0 else found[1]


def is_damage(error: KafkaError) -> bool:
    """Whether a consumer's error means that a batch of the partition is damaged.

    Messages of this partition that the consumer returns later must not be used: librdkafka continues at a wrong byte.
    """
    return error.code() in _DAMAGE_CODES


def damaged_batch_error(settings: Settings, partition: int, offset: int, reason: str) -> BatchBroken:
    """Return the error that names a damaged batch. `offset` is the first offset that cannot be read."""
    return BatchBroken(
        f"{settings.kafka_topic} partition {partition} cannot be read at offset {offset}: {reason.rstrip('.')}.",
        hint="The batch is damaged on the broker. Restore it from a replica. Otherwise `orderflow accept-loss` shows"
        " its offsets and, with --yes, records them as lost.",
    )


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
        result = probe(position, STALL_TIMEOUT)
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
            if not probe(offset, STALL_TIMEOUT).is_damage:
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
    except BatchBroken:
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
        except BatchBroken as error:
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
    unread = OffsetRange(offset, offset + 1)
    progress = _Progress(stall_timeout, settings.kafka_topic, partition)
    config = {"fetch.message.max.bytes": _PROBE_BYTES, "stats_cb": progress.on_statistics} | _STATISTICS
    with _open_consumer(settings, **config) as reader:
        reader.assign([TopicPartition(settings.kafka_topic, partition, offset)])
        while (message := reader.poll(0.25)) is None:
            if (seconds := time.monotonic() - progress.moved_at) > stall_timeout:
                return _ProbeResult(offset, True, reason=f"nothing arrived for {seconds:.0f} seconds")
        error, found = message.error(), message.offset()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            assert found is not None
            try:
                if error is None:
                    check_offset(found, offset, high_watermark(reader, settings, partition))
            except DamagedError as damaged:
                return _ProbeResult(found, True, KafkaError._BAD_MSG, str(damaged))
            return _ProbeResult(found, False)
        if not is_damage(error):
            _handle_error(settings, partition, unread, error, found)
        return _ProbeResult(offset if found is None else found, True, error.code(), error.str())


def follow(settings: Settings, *, from_beginning: bool) -> Iterator[Record]:
    """Yield the committed records of all partitions as they arrive. The iterator never ends.

    It waits for brokers that are down. It logs and skips a partition with a damaged batch.

    Raises TopicMissing, KafkaRefused.
    """
    info = describe(settings)
    start = OFFSET_BEGINNING if from_beginning else OFFSET_END
    with translate_errors(settings), _open_consumer(settings) as reader:
        reader.assign([TopicPartition(info.name, partition, start) for partition in info.partitions])
        positions: dict[int, int] = {}
        damaged: set[int] = set()
        while True:
            for message in reader.consume(1_000, timeout=0.2):
                error, partition = message.error(), message.partition()
                if partition in damaged:
                    continue
                if error is None:
                    record = _record(message)
                    positions[record.partition] = record.offset + 1
                    yield record
                elif is_damage(error) and partition is not None:
                    damaged.add(partition)
                    reader.incremental_unassign([TopicPartition(info.name, partition)])
                    offset = positions.get(partition, message.offset() or 0)
                    log.warning("%s", damaged_batch_error(settings, partition, offset, error.str()).message)
                elif error.code() in _REFUSAL_CODES or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise KafkaException(error)


def consumer(settings: Settings, **more: Any) -> Consumer:
    """Return a client that reads committed records of its assigned partitions and joins no group."""
    return Consumer(reader_config(settings) | more)


@contextmanager
def _open_consumer(settings: Settings, **more: Any) -> Iterator[Consumer]:
    reader = consumer(settings, **more)
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


def _record(message: Message) -> Record:
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None
    key, value = message.key(), message.value()
    return Record(partition, offset, message.timestamp()[1], _as_bytes(key), _as_bytes(value))


def _as_bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data


@lru_cache(maxsize=1)
def _admin(settings: Settings) -> AdminClient:
    """The admin client. It is cached, because a collected client cancels its requests and connecting is slow."""
    check_connection(settings)
    return AdminClient(client_config(settings))


@contextmanager
def translate_errors(settings: Settings, client: AdminClient | None = None) -> Iterator[None]:
    """Translate the client's exceptions into OrderFlow's errors by their code."""
    try:
        yield
    except KafkaException as exception:
        if client is not None:
            client.poll(0)  # runs error_cb with the failures of the brokers
        error = classify(exception.args[0], settings)
        # Over TLS or SASL a timeout may be a refusal. Only a handshake can distinguish them.
        if settings.kafka_security_protocol != "PLAINTEXT" and exception.args[0].code() in _AMBIGUOUS_CODES:
            check_connection(settings)
        raise error from exception


_failures: dict[tuple[str, str], tuple[float, str]] = {}  # by bootstrap servers and broker: time and reason


def _record_failure(servers: str, error: KafkaError) -> None:
    """Record broker and reason of a failure. librdkafka reports them only here: requests just time out."""
    broker, _, reason = error.str().partition(": ")
    if error.code() in (KafkaError._RESOLVE, KafkaError._TRANSPORT) and "/" in broker:
        _failures[servers, broker.rpartition("://")[2]] = time.monotonic(), reason


def _advertised_failure(settings: Settings) -> str | None:
    """The reason why a broker's advertised address, which KAFKA_BOOTSTRAP_SERVERS does not name, is unreachable."""
    servers = settings.kafka_bootstrap_servers
    for (known, broker), (noted_at, reason) in _failures.items():
        address, _, node = broker.rpartition("/")
        if known == servers and node.isdigit() and time.monotonic() - noted_at < _FAILURE_MAX_AGE:
            if address in {server.strip() for server in servers.split(",")}:
                continue
            return f"broker {node} cannot be reached at its advertised.listeners address {address}: {reason}"
    return None


def classify(error: KafkaError, settings: Settings) -> OrderFlowError:
    """Return the OrderFlow error for a client's error code."""
    where, reason = f"Kafka at {settings.kafka_bootstrap_servers}", error.str().rstrip(".")
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return TopicMissing(
            f"Topic {settings.kafka_topic} does not exist on {settings.kafka_bootstrap_servers}.",
            hint="`orderflow init` creates it. Otherwise set KAFKA_TOPIC to another topic.",
        )
    if error.code() in _LOGIN_REFUSAL_CODES:
        return KafkaRefused(
            f"{where} refuses user {settings.kafka_sasl_username} with {settings.kafka_sasl_mechanism}: {reason}.",
            hint="Check KAFKA_SASL_USERNAME, KAFKA_PASSWORD (or KAFKA_PASSWORD_FILE) and KAFKA_SASL_MECHANISM.",
        )
    if error.code() == KafkaError._INVALID_ARG:
        return KafkaRefused(
            f"The Kafka client for {settings.kafka_bootstrap_servers} cannot be created: {reason}.",
            hint="Check the KAFKA_SSL_… setting with that name, and KAFKA_SSL_KEY_PASSWORD.",
        )
    if error.code() in _REFUSAL_CODES:
        return KafkaRefused(
            f"{where} refuses: {reason}.",
            hint="Check KAFKA_BOOTSTRAP_SERVERS, and grant the user what `orderflow init --grants` prints.",
        )
    if error.code() in _AMBIGUOUS_CODES and (failure := _advertised_failure(settings)):
        return KafkaUnavailable(
            f"{where} answers, but {failure.rstrip('.')}.",
            hint="advertised.listeners of that broker must name a host and port that this machine can reach.",
        )
    protocol = settings.kafka_security_protocol
    hint = f"If it runs, that listener may not use {protocol}: see KAFKA_SECURITY_PROTOCOL."
    return KafkaUnavailable(f"{where} does not answer: {reason}.", hint="" if protocol == "PLAINTEXT" else hint)
