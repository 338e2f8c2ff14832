"""The interface through which the store reads the topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class TopicReader(Protocol):
    """Answers the store's questions about the topic."""

    @property
    def topic(self) -> str:
        """The topic's name."""

    @property
    def topic_id(self) -> str:
        """The topic's id, which differs when a topic is deleted and created again."""

    def first_offset(self, partition: int) -> int:
        """Return the first offset that the partition still holds."""

    def holds_records(self, partition: int, start: int, end: int) -> bool:
        """Whether a committed record can be read with `start` <= offset < `end`.

        Raises KafkaUnavailable if this is currently unknown.
        """

    def request_topic_id_check(self) -> Callable[[], None]:
        """Request the topic's id. The returned function waits for it, and raises TopicRecreated if it differs."""
