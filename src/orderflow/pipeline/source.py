"""The source: what the store may ask of the topic."""

from __future__ import annotations

from typing import NamedTuple

from orderflow import topic
from orderflow.errors import Interrupted, OffsetsLost
from orderflow.settings import Settings


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
