"""What goes into the store: a run of raw records of one partition, and who can look into the topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from orderflow.order import Order

# Records of one transaction at most. LOAD DATA counts its warnings in 16 bits.
TRANSACTION_ROWS = 20_000


class Run(NamedTuple):
    """Consecutive raw records of one partition, as columns of equal length, offsets ascending.

    `timestamps` are milliseconds since 1970 UTC. `headers` is None where they were not asked for.
    """

    partition: int
    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Sequence[tuple[str, bytes | None]]] | None = None

    def since(self, offset: int) -> Run:
        """The records at `offset` and after it."""
        skip = next((index for index, found in enumerate(self.offsets) if found >= offset), len(self.offsets))
        if not skip:
            return self
        headers = self.headers[skip:] if self.headers is not None else None
        return Run(
            self.partition, self.offsets[skip:], self.timestamps[skip:], self.keys[skip:], self.values[skip:], headers
        )


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
    """An accepted order on its way into the table, with its offset."""

    order: Order
    offset: int
