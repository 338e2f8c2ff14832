"""What goes into the store: a run of raw records, and who can look into the topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from orderflow.order import Order

# Records of one transaction at most. LOAD DATA counts its warnings in 16 bits.
TRANSACTION_ROWS = 20_000


class Run(NamedTuple):
    """Raw records as columns of equal length; those of each partition are consecutive, their offsets ascending.

    `timestamps` are milliseconds since 1970 UTC. `headers` is None where they were not asked for.
    """

    partitions: Sequence[int]
    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Sequence[tuple[str, bytes | None]]] | None = None

    def starts(self) -> dict[int, int]:
        """The first offset of each partition."""
        return dict(zip(reversed(self.partitions), reversed(self.offsets), strict=True))

    def ends(self) -> dict[int, int]:
        """The offset behind the last record of each partition."""
        return {
            partition: last + 1 for partition, last in dict(zip(self.partitions, self.offsets, strict=True)).items()
        }

    def since(self, positions: Mapping[int, int]) -> Run:
        """The records at these offsets, by partition, and after them; the run itself if that is all of it."""
        if all(first >= positions[partition] for partition, first in self.starts().items()):
            return self
        coordinates = enumerate(zip(self.partitions, self.offsets, strict=True))
        kept = [place for place, (partition, offset) in coordinates if offset >= positions[partition]]
        columns = self if self.headers is not None else self[:-1]
        return Run(*([column[place] for place in kept] for column in columns))  # type: ignore[arg-type, index]


class Source(Protocol):
    """Where the records come from, as far as the store must know it."""

    @property
    def topic(self) -> str:
        """The topic's name."""

    @property
    def topic_id(self) -> str:
        """The topic's id, which a topic made again does not share."""

    def first_offset(self, partition: int) -> int:
        """The first offset that the partition still holds."""

    def holds_records(self, partition: int, start: int, end: int) -> bool:
        """Whether a committed record can be read with `start` <= offset < `end`."""


class Row(NamedTuple):
    """An accepted order on its way into the table, with its record's coordinates and place in the run."""

    order: Order
    partition: int
    offset: int
    place: int
