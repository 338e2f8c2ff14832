"""The store's TopicReader for a topic in Kafka."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from orderflow import topic
from orderflow.errors import BatchDamaged, OffsetsLost, RestartRequired
from orderflow.settings import Settings
from orderflow.store import ledger


class KafkaTopicReader(NamedTuple):
    """The topic's data for the store. It can be pickled, so Spark sends it to the workers."""

    settings: Settings
    topic_id: str

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.settings.kafka_topic

    def first_offset(self, partition: int) -> int:
        """The first offset that the partition still holds."""
        return topic.bounds(self.settings, [partition])[partition].first

    def holds_records(self, partition: int, start: int, end: int) -> bool:
        """Whether a committed record can be read with `start` <= offset < `end`."""
        try:
            return topic.holds_records(self.settings, partition, start, end)
        except (OffsetsLost, BatchDamaged) as lost:
            raise RestartRequired(lost.message) from lost  # the next start finds and reports everything that is lost

    def request_topic_id_check(self) -> Callable[[], None]:
        """Request the topic's id from Kafka. The returned function waits for the answer.

        If the topic still has the same id now, it also had it when the batch was read.
        Otherwise the returned function raises TopicRecreated or TopicMissing.
        """
        wait_for_description = topic.request_description(self.settings)

        def finish_check() -> None:
            ledger.check_topic_id(self.topic, wait_for_description().topic_id, self.topic_id)

        return finish_check
