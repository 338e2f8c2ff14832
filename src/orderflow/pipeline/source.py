"""The Kafka source: raw records for the workers, and what the store may ask of the topic."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def frame(spark: SparkSession, settings: Settings, next_offsets: Mapping[int, int]) -> DataFrame:
    """Raw records from the ledger's positions on; partitions added later are read from their beginning."""
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
        .option("kafka.isolation.level", "read_committed")
        .option("kafka.allow.auto.create.topics", "false")  # a deleted topic stays away, and is named
        .option("kafka.default.api.timeout.ms", _KAFKA_PATIENCE)
        .option("kafka.request.timeout.ms", _KAFKA_PATIENCE)
        .load()
    )
    return records.drop("topic", "timestampType")


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
