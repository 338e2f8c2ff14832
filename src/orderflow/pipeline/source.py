"""The Kafka source: raw records for the workers, and what the store may ask of the topic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orderflow import topic
from orderflow.errors import Interrupted, OffsetsLost
from orderflow.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Bounds a micro-batch, and with it what is repeated after a failure and how long a graceful stop takes.
MAX_OFFSETS_PER_TRIGGER = 300_000
# How long Spark waits for a broker (ms) before the query ends and the supervisor says what is awaited.
_KAFKA_PATIENCE = 15_000
_LOGIN_MODULES = {
    "SCRAM-SHA-512": "scram.ScramLoginModule",
    "SCRAM-SHA-256": "scram.ScramLoginModule",
    "PLAIN": "plain.PlainLoginModule",
}


def frame(spark: SparkSession, settings: Settings, next_offsets: Mapping[int, int]) -> DataFrame:
    """Raw records from the ledger's positions on; partitions added later are read from their beginning."""
    # Plans hide what the session says, but only to a thread whose active session it is.
    spark._get_j_spark_session_class(spark._jvm).setActiveSession(spark._jsparkSession)
    starting = {settings.kafka_topic: {str(partition): offset for partition, offset in next_offsets.items()}}
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.kafka_bootstrap_servers)
        .option("subscribe", settings.kafka_topic)
        .option("startingOffsets", json.dumps(starting))
        .option("failOnDataLoss", "true")
        .option("maxOffsetsPerTrigger", MAX_OFFSETS_PER_TRIGGER)
        .option("includeHeaders", str(settings.kafka_headers == "keep").lower())
        .option("kafkaConsumer.pollTimeoutMs", _KAFKA_PATIENCE)
        .option("fetchOffset.numRetries", 1)  # a query that asks again cannot be stopped meanwhile
        .option("kafka.isolation.level", "read_committed")
        # A task's reading may wait for a question that the task before it left with the broker: 500 ms by default.
        .option("kafka.fetch.max.wait.ms", 10)
        # Spark throws away what its client has fetched beyond a poll, and asks the broker for offsets after each.
        .option("kafka.max.poll.records", 4000)
        .option("kafka.allow.auto.create.topics", "false")  # a deleted topic stays away, and is named
        .option("kafka.default.api.timeout.ms", _KAFKA_PATIENCE)
        .option("kafka.request.timeout.ms", _KAFKA_PATIENCE)
        .options(**_security(settings))
        .load()
    )
    return records.drop("topic", "timestampType")


def _security(settings: Settings) -> dict[str, str]:
    """The JVM client's words for what topic.client_config tells librdkafka. The session hides the secrets in plans.

    Rejected: its configuration providers (files, environment), which every machine of a cluster would need.
    """
    protocol = settings.kafka_security_protocol
    options: dict[str, str] = {"security.protocol": protocol}
    if protocol.startswith("SASL"):
        module = f"org.apache.kafka.common.security.{_LOGIN_MODULES[settings.kafka_sasl_mechanism]}"
        user, password = _quoted(settings.kafka_sasl_username), _quoted(settings.kafka_password)
        options["sasl.mechanism"] = settings.kafka_sasl_mechanism
        options["sasl.jaas.config"] = f"{module} required username={user} password={password};"
    if protocol.endswith("SSL"):
        if settings.kafka_ssl_ca_location:
            options["ssl.truststore.type"] = "PEM"
            options["ssl.truststore.certificates"] = Path(settings.kafka_ssl_ca_location).read_text("utf-8")
        if settings.kafka_ssl_certificate_location:
            certificate, key = settings.kafka_ssl_certificate_location, settings.kafka_ssl_key_location
            options["ssl.keystore.type"] = "PEM"
            options["ssl.keystore.certificate.chain"] = Path(certificate).read_text("utf-8")
            options["ssl.keystore.key"] = Path(key).read_text("utf-8")
            options["ssl.key.password"] = settings.kafka_ssl_key_password
    return {f"kafka.{name}": value for name, value in options.items() if value}


def _quoted(text: str) -> str:
    """A string of a JAAS configuration."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class TopicSource(NamedTuple):
    """What the store may ask of the topic. It travels to the workers."""

    settings: Settings
    topic_id: str

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.settings.kafka_topic

    def first_offset(self, partition: int) -> int:
        """The first offset the partition still holds."""
        return topic.bounds(self.settings, [partition])[partition].first

    def holds_records(self, partition: int, start: int, end: int) -> bool:
        """Whether a committed record can be read with `start` <= offset < `end`."""
        try:
            return topic.holds_records(self.settings, partition, start, end)
        except OffsetsLost as lost:
            raise Interrupted(lost.message) from lost  # the next start finds and names all that is lost
