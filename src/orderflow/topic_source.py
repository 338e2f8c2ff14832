"""The interface through which the store reads the topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from orderflow import topic
from orderflow.errors import BatchBroken, Interrupted, OffsetsLost
from orderflow.settings import Settings
from orderflow.store import ledger


class TopicSource(NamedTuple):
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
        except (OffsetsLost, BatchBroken) as lost:
            raise Interrupted(lost.message) from lost  # the next start finds and reports everything that is lost

    def request_identity_check(self) -> Callable[[], None]:
        """Request the topic's identity from Kafka. The returned function waits for the answer.

        If the topic still has the same id now, it also had it when the batch was read. Otherwise the returned function
        raises TopicRecreated or TopicMissing.
        """
        wait = topic.request_description(self.settings)
        return lambda: ledger.check_topic_id(self.topic, wait().topic_id, self.topic_id)
