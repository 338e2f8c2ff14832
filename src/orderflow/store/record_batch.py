"""The store's input: a batch of raw records, and the rows that the accepted ones become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from orderflow.contract.definition import LAST_MILLISECOND, Order

# Less than 65,536, because LOAD DATA counts warnings in 16 bits.
MAX_TRANSACTION_RECORDS = 20_000


class RecordBatch(NamedTuple):
    """Raw records as columns of equal length. The records of each partition are consecutive, with ascending offsets.

    `timestamps` are milliseconds since 1970 UTC. `headers` is None if they were not requested.
    """

    partitions: Sequence[int]
    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Sequence[tuple[str, bytes | None]]] | None = None

    def first_offsets(self) -> dict[int, int]:
        """Return the first offset of each partition."""
        return dict(zip(reversed(self.partitions), reversed(self.offsets), strict=True))

    def next_offsets(self) -> dict[int, int]:
        """Return the offset after the last record of each partition."""
        return {
            partition: last + 1 for partition, last in dict(zip(self.partitions, self.offsets, strict=True)).items()
        }

    def last_indexes(self) -> dict[int, int]:
        """Return the batch index of each partition's last record."""
        return {partition: index for index, partition in enumerate(self.partitions)}

    def describe(self, topic: str) -> str:
        """Return the topic partitions and offsets, for messages: "orders partition 0 offsets 17 to 36"."""
        starts, ends = self.first_offsets(), self.next_offsets()
        offsets = (
            f"partition {partition} offsets {starts[partition]} to {ends[partition] - 1}"
            for partition in sorted(starts)
        )
        return f"{topic} {', '.join(offsets)}"

    def starting_at(self, positions: Mapping[int, int]) -> RecordBatch:
        """Return the records at or after each partition's position; the batch itself if that is every record."""
        if all(first >= positions[partition] for partition, first in self.first_offsets().items()):
            return self
        coordinates = enumerate(zip(self.partitions, self.offsets, strict=True))
        return self.at_indexes([index for index, (partition, offset) in coordinates if offset >= positions[partition]])

    def at_indexes(self, indexes: Sequence[int]) -> RecordBatch:
        """Return the records at these batch indexes."""
        columns = self if self.headers is not None else self[:-1]
        return RecordBatch(*([column[index] for index in indexes] for column in columns))  # type: ignore[arg-type, index]


class NewRow(NamedTuple):
    """An accepted order to be written, with its record's coordinates and batch index."""

    order: Order
    partition: int
    offset: int
    batch_index: int


def produced_at(timestamp: int) -> str | None:
    """Return a record's timestamp (milliseconds since 1970 UTC) as DATETIME(3); None if missing or implausible."""
    if not 0 <= timestamp <= LAST_MILLISECOND:
        return None
    return f"{_second(timestamp // 1000)}.{timestamp % 1000:03d}"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
