"""A message that the producer sends."""

from __future__ import annotations

# Key, value, partition. A plain tuple: creating a named tuple takes as long as formatting the order.
OutgoingMessage = tuple[bytes | None, bytes | None, int]
PARTITION_BY_KEY = -1  # the Kafka client selects the partition by the key
