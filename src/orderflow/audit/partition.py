"""The audit's state for one partition of the ledger."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from orderflow.audit.report import Finding
from orderflow.contract.definition import EPOCH, LAST_MILLISECOND
from orderflow.store.ledger import LedgerEntry, Loss, without_losses
from orderflow.store.snapshot import LedgerControlValues
from orderflow.topic import Bounds

_QUARANTINED = -1  # no hash is -1
_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = timedelta(milliseconds=1)
_UNKNOWN = LedgerControlValues(None, 0, 0)


class AuditedPartition:
    """A partition's entry in the ledger, and the row that each of its records became.

    The rows take 8 bytes per offset (8 MB per million): at the record's offset, the hash of the row's order_id. The
    memory map is allocated by the operating system only where it is written.
    """

    def __init__(
        self,
        entry: LedgerEntry,
        bounds: Bounds,
        losses: Sequence[Loss] = (),
        control_values: LedgerControlValues = _UNKNOWN,
    ) -> None:
        self.entry = entry
        self.bounds = bounds
        self.control_values = control_values
        self.start = min(max(entry.first_offset, bounds.first), entry.next_offset)
        self.next_to_read = self.start  # offset; lower ones are compared, or cannot be re-read
        # Offsets that left the topic during the audit, before they were re-read.
        self._removed_meanwhile: list[range] = []
        self.losses = losses
        self.peers: Sequence[AuditedPartition] = ()  # the partitions of other topics with the same number
        self.damaged: Sequence[Loss] = ()  # losses that the topic still has, but that cannot be read
        self.counts: Counter[str] = Counter()  # stored, duplicates, quarantined: counted like the ledger's
        self.times_sum = 0  # microseconds, summed like the ledger's
        self._last: tuple[int, datetime | None] = (-1, None)  # the last record's offset, and when its row was written
        self._has_other_update = any(loss.accepted_at == entry.updated_at for loss in losses)
        self._row_hashes = memoryview(mmap.mmap(-1, 8 * (self.size or 1))).cast("q")

    def finding(self, description: str, offset: int | None = None, order_id: str | None = None) -> Finding:
        """Return a finding with this partition's coordinates."""
        entry = self.entry
        return Finding(
            description=description, topic=entry.topic, partition=entry.partition, offset=offset, order_id=order_id
        )

    @property
    def size(self) -> int:
        """The number of offsets that could be re-read when the audit began."""
        return self.entry.next_offset - self.start

    def readable_ranges(self) -> Iterator[tuple[int, int]]:
        """Return the ranges of offsets that remain to be re-read: all but the damaged ones whose loss was accepted."""
        return without_losses(self.next_to_read, self.entry.next_offset, self.damaged)

    def remove_before(self, first: int) -> None:
        """Register that the topic now begins at this offset, so that earlier ones can no longer be re-read."""
        first = min(first, self.entry.next_offset)
        self._removed_meanwhile.append(range(self.next_to_read, first))
        self.next_to_read = first

    @property
    def _removed_ranges(self) -> list[range]:
        return [range(self.entry.first_offset, self.start), *self._removed_meanwhile]

    @property
    def removed_count(self) -> int:
        """The number of accounted offsets that can no longer be re-read, without the accepted losses."""
        accepted = sum(
            len(range(max(gone.start, loss.first_offset), min(gone.stop, loss.end_offset)))
            for gone in self._removed_ranges
            for loss in self.losses
        )
        return max(0, sum(map(len, self._removed_ranges)) - accepted)

    @property
    def unaccounted(self) -> Bounds:
        """The offsets of the topic before the ledger's first offset."""
        return Bounds(self.bounds.first, min(self.entry.first_offset, self.bounds.end))

    def is_readable(self, offset: int) -> bool:
        """Whether this offset is accounted for and can be re-read, or was re-read before it left the topic."""
        damaged = (loss.first_offset <= offset < loss.end_offset for loss in self.damaged)
        gone = (offset in removed for removed in self._removed_meanwhile)
        return self.start <= offset < self.entry.next_offset and not any((*damaged, *gone))

    def is_removed(self, offset: int) -> bool:
        """Whether this offset is accounted for and can no longer be re-read. Accepted losses are excluded."""
        return any(offset in gone for gone in self._removed_ranges) and not any(
            loss.first_offset <= offset < loss.end_offset for loss in self.losses
        )

    def may_be_lost(self, loss: Loss) -> bool:
        """Whether the topic holds no readable record at the offsets of this accepted loss."""
        if loss in self.damaged or loss.end_offset <= self.start:
            return True
        return any(gone.start <= loss.first_offset and loss.end_offset <= gone.stop for gone in self._removed_meanwhile)

    def add_row(self, offset: int, order_id: str, stored_at: datetime | None) -> None:
        """Register that the record at this offset became the row of this order."""
        self._row_hashes[offset - self.start] = _hash(order_id)
        self.counts["stored"] += 1
        self.times_sum += microseconds(stored_at)

    def has_row(self, offset: int, order_id: str) -> bool:
        """Whether the record at this offset became the row of this order."""
        return self.is_readable(offset) and self._row_hashes[offset - self.start] == _hash(order_id)

    def add_quarantined(self, offset: int, quarantined_at: datetime | None, resolved_at: datetime | None) -> None:
        """Register that the record at this offset is in the quarantine. If it was replayed, `add_row` may follow."""
        self._row_hashes[offset - self.start] = _QUARANTINED
        self.counts["quarantined"] += 1
        self.times_sum += microseconds(quarantined_at)
        self._has_other_update |= resolved_at == self.entry.updated_at

    def is_quarantined(self, offset: int) -> bool:
        """Whether the record at this offset is in the quarantine and did not become a row."""
        return self.is_readable(offset) and self._row_hashes[offset - self.start] == _QUARANTINED

    def update_last_record(self, offset: int, written_at: datetime | None) -> None:
        """Register when the record's row was written (None for a duplicate), if it is the last record so far."""
        if offset > self._last[0]:
            self._last = offset, written_at

    @property
    def expected_update(self) -> datetime | None:
        """When the ledger's row should have been updated last; None if that is unknown or equals its updated_at.

        The last record, a replay and the acceptance of a loss each leave their time in another table. The time is
        unknown if records have left the topic, because one of them may have been replayed.
        """
        offset, written_at = self._last
        # Only transaction markers and aborted records may follow the ledger's last record.
        is_last = offset in (self.control_values.last.offset, self.entry.next_offset - 1)
        if not is_last or self._has_other_update or self.removed_count or written_at == self.entry.updated_at:
            return None
        return written_at


def _hash(order_id: str) -> int:
    return hash(order_id) or 1  # 0 means no row


def microseconds(moment: datetime | None) -> int:
    """Return the microseconds since 1970, as summed by the ledger; 0 for None."""
    return 0 if moment is None else (moment - EPOCH) // _MICROSECOND


def is_timestamp(moment: datetime | None, timestamp: int) -> bool:
    """Whether a row's produced_at is the record's timestamp (milliseconds since 1970)."""
    if moment is None or not 0 <= timestamp <= LAST_MILLISECOND:
        return moment is None and not 0 <= timestamp <= LAST_MILLISECOND
    return (moment - EPOCH) // _MILLISECOND == timestamp
