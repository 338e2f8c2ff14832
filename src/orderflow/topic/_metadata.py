"""Returns the topic's identity, partitions, bounds and cleanup policy. Creates the topic and adds partitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import ConfigResource, NewPartitions, NewTopic, OffsetSpec

from orderflow.errors import KafkaRefused, KafkaUnavailable, TopicMissing, TopicUnusable
from orderflow.settings import Settings
from orderflow.topic._connection import TIMEOUT, admin_client, translate_errors
from orderflow.topic._error_codes import REFUSAL_CODES, classify

DEFAULT_PARTITIONS = 3
_NO_ID = "A" * 22  # how a Uuid of zeros is written: brokers without topic ids return it

_Result = TypeVar("_Result")


class TopicInfo(NamedTuple):
    """A topic's identity. `topic_id` changes when a topic is deleted and created again with the same name."""

    name: str
    topic_id: str
    partitions: tuple[int, ...]


class Bounds(NamedTuple):
    """The readable offsets of a partition: `first` <= offset < `end`; `end` is the last stable offset."""

    first: int
    end: int


def describe(settings: Settings) -> TopicInfo:
    """Return the topic's identity.

    Raises TopicMissing, TopicUnusable (it has no id), KafkaUnavailable, KafkaRefused.
    """
    return request_description(settings)()


def request_description(settings: Settings) -> Callable[[], TopicInfo]:
    """Request the topic's identity. The returned function waits for the answer.

    Both raise what `describe` raises.
    """
    name, admin = settings.kafka_topic, admin_client(settings)
    with translate_errors(settings, admin):
        answer = admin.describe_topics(TopicCollection([name]), request_timeout=TIMEOUT)[name]

    def wait() -> TopicInfo:
        with translate_errors(settings, admin):
            description = answer.result()
        if description.topic_id is None or str(description.topic_id) == _NO_ID:
            raise TopicUnusable(
                f"Topic {name} has no id on {settings.kafka_bootstrap_servers}, so OrderFlow cannot detect that it is"
                " deleted and created again.",
                hint="Upgrade the brokers to Kafka 2.8 or newer. With ZooKeeper, inter.broker.protocol.version must be"
                " 2.8 or newer too: existing topics then get an id.",
            )
        partitions = tuple(sorted(partition.id for partition in description.partitions))
        return TopicInfo(name, str(description.topic_id), partitions)

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

    Raises TopicMissing if the broker refuses, KafkaUnavailable, KafkaRefused.
    """
    name = settings.kafka_topic
    not_compacted = {"cleanup.policy": "delete"}  # whatever the broker's default is
    admin = admin_client(settings)
    wanted = NewTopic(name, num_partitions=partitions, replication_factor=-1, config=not_compacted)
    try:
        admin.create_topics([wanted], request_timeout=TIMEOUT)[name].result()
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if error.code() in REFUSAL_CODES:
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

    Raises KafkaRefused if the topic has that many already, or if the user lacks the right.
    Raises KafkaUnavailable, also if they are missing after 10 seconds.
    """
    name = settings.kafka_topic
    with translate_errors(settings):
        admin = admin_client(settings)
        admin.create_partitions([NewPartitions(name, partitions)], request_timeout=TIMEOUT)[name].result()
    deadline = time.monotonic() + TIMEOUT
    while (count := len((topic_info := wait_for_leaders(settings)).partitions)) < partitions:
        if time.monotonic() > deadline:
            raise KafkaUnavailable(f"Topic {name} still has {count} partitions, not {partitions}.")
        time.sleep(0.05)
    return topic_info


def _can_auto_create(settings: Settings) -> bool:
    """Whether the broker has auto.create.topics.enable; True if the user may not read the broker's configuration."""
    with translate_errors(settings):
        broker = str(next(iter(admin_client(settings).list_topics(timeout=TIMEOUT).brokers)))
    resource = ConfigResource(ConfigResource.Type.BROKER, broker)
    return _config(settings, resource, "auto.create.topics.enable") in ("true", None)


def _config(settings: Settings, resource: ConfigResource, name: str) -> str | None:
    """Return a value of a broker's or topic's configuration; None if it has none, or the user may not read it."""
    admin = admin_client(settings)
    try:
        with translate_errors(settings, admin):
            values = admin.describe_configs([resource], request_timeout=TIMEOUT)[resource].result()
    except KafkaRefused:
        return None
    return str(values[name].value) if name in values else None


def check_cleanup_policy(settings: Settings) -> str | None:
    """Return the topic's cleanup.policy; None if the user may not read it.

    Raises TopicMissing and KafkaUnavailable.
    Raises TopicUnusable if the topic is compacted: the offsets of removed records look like those of transaction
    markers, so no reader notices what is missing.
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

    Raises TopicMissing or KafkaUnavailable if an attempt fails after 10 seconds, and KafkaRefused.
    """

    def attempt() -> TopicInfo:
        topic_info = describe(settings)
        bounds(settings, topic_info.partitions)
        return topic_info

    return _retry(attempt)


def _retry(attempt: Callable[[], _Result]) -> _Result:
    """Return what `attempt` returns. Repeat it for 10 seconds: a new topic reaches the brokers at different times."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return attempt()
        except (TopicMissing, KafkaUnavailable):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def bounds(settings: Settings, partitions: Sequence[int]) -> dict[int, Bounds]:
    """Return the readable offsets by partition, with isolation level read_committed.

    Raises TopicMissing, KafkaUnavailable, KafkaRefused.
    """
    admin = admin_client(settings)

    def list_offsets(spec: OffsetSpec) -> dict[int, int]:
        wanted = {TopicPartition(settings.kafka_topic, partition): spec for partition in partitions}
        answers = admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT)
        return {topic_partition.partition: future.result().offset for topic_partition, future in answers.items()}

    with translate_errors(settings, admin):
        first, end = list_offsets(OffsetSpec.earliest()), list_offsets(OffsetSpec.latest())  # type: ignore[no-untyped-call]
    if unknown := sorted(partition for partition in partitions if first[partition] < 0 or end[partition] < 0):
        raise KafkaUnavailable(
            f"Kafka at {settings.kafka_bootstrap_servers} cannot return the end of {settings.kafka_topic} partition"
            f" {unknown[0]} now."
        )
    return {partition: Bounds(first[partition], end[partition]) for partition in partitions}
