"""One partition of the ledger under audit: what its records are entitled to."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Sequence

from orderflow.audit.report import Values
from orderflow.order import FIELDS, Order
from orderflow.store.ledger import Entry, Loss
from orderflow.topic import Bounds

_QUARANTINED = -1  # no hash is -1


class Partition:
    """What the ledger says of a partition, and which rows its records own.

    Owned rows take 8 bytes per offset (8 MB per million), in memory that the system hands out as it is written to:
    the hash of the row's order_id, at the record's offset.
    """

    def __init__(self, entry: Entry, bounds: Bounds, losses: Sequence[Loss] = ()) -> None:
        self.entry = entry
        self.start = min(max(entry.first_offset, bounds.first), entry.next_offset)
        self.losses = losses
        self.found: Counter[str] = Counter()  # stored, duplicates, quarantined: as the ledger counts them
        self._owned = memoryview(mmap.mmap(-1, 8 * (self.size or 1))).cast("q")

    @property
    def size(self) -> int:
        """How many offsets can be re-read."""
        return self.entry.next_offset - self.start

    @property
    def lost(self) -> int:
        """How many offsets the ledger accounts for that can no longer be re-read, but for the accepted losses."""
        accepted = sum(max(0, min(loss.end_offset, self.start) - loss.first_offset) for loss in self.losses)
        return max(0, self.start - self.entry.first_offset - accepted)

    def reads(self, offset: int) -> bool:
        """Whether this offset is accounted for and can be re-read."""
        return self.start <= offset < self.entry.next_offset

    def has_lost(self, offset: int) -> bool:
        """Whether this offset is accounted for and can no longer be re-read. Nothing came of an accepted loss."""
        return self.entry.first_offset <= offset < self.start and not any(
            loss.first_offset <= offset < loss.end_offset for loss in self.losses
        )

    def own(self, offset: int, order_id: str) -> None:
        """The row of this order is the one that the record at this offset became."""
        self._owned[offset - self.start] = _hash(order_id)
        self.found["stored"] += 1

    def owns(self, offset: int, order_id: str) -> bool:
        """Whether the record at this offset became the row of this order."""
        return self.reads(offset) and self._owned[offset - self.start] == _hash(order_id)

    def quarantine(self, offset: int) -> None:
        """The record at this offset is in the quarantine; if it was replayed, it may come to own a row."""
        self._owned[offset - self.start] = _QUARANTINED
        self.found["quarantined"] += 1

    def is_quarantined(self, offset: int) -> bool:
        """Whether the record at this offset is in the quarantine, and owns no row."""
        return self.reads(offset) and self._owned[offset - self.start] == _QUARANTINED


def _hash(order_id: str) -> int:
    return hash(order_id) or 1  # 0 is nobody's


def differences(order: Order, there: Sequence[object]) -> dict[str, Values]:
    """Field to its two values, where the order and a row that should be its own differ."""
    return {
        name: Values(record=str(given), table=str(found))
        for name, given, found in zip(FIELDS, order.row(), there, strict=True)
        if given != found
    }
