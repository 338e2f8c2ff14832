"""What a reader's events prove about a range of offsets. It uses no Kafka client, so tests can simulate logs."""

from __future__ import annotations

from typing import NamedTuple


class DamagedOffset(Exception):
    """An offset that an undamaged log cannot return."""


class OffsetRange:
    """The offsets `start` <= offset < `end` of one partition, and how far they are known.

    A read_committed reader does not get a record for every offset: transaction markers, aborted and compacted records
    leave gaps. A gap is proven empty by a record after it, or by a partition end at or after its end. An earlier end
    proves nothing about later offsets: a new leader may briefly report an older end.
    """

    def __init__(self, start: int, end: int) -> None:
        self.position = start  # all lower offsets of the range are known
        self.end = end
        self.premature_end: int | None = None  # the last reported end of the partition, if it is before `end`

    @property
    def is_known(self) -> bool:
        """Whether it is known for each offset of the range that its record was read, or that it has none."""
        return self.position >= self.end

    def on_record(self, offset: int, high_watermark: int | None = None) -> bool:
        """Process a committed record. Return whether it is in the range.

        Raises DamagedOffset, see check_offset.
        """
        check_offset(offset, self.position, high_watermark)
        self.premature_end = None
        if offset >= self.end:
            self.position = self.end
            return False
        self.position = offset + 1
        return True

    def on_end(self, offset: int) -> None:
        """Process an end of partition: the offset of the first record that cannot be read yet."""
        self.premature_end = offset if offset < self.end else None
        self.position = max(self.position, min(offset, self.end))


def check_offset(offset: int, position: int, high_watermark: int | None = None) -> None:
    """Raise DamagedOffset if a record cannot have this offset.

    It is impossible below `position`, and from `high_watermark` on.

    The check is needed because Kafka's checksum does not cover a batch's first offset.
    """
    if offset < position:
        raise DamagedOffset(f"a record with offset {offset} follows the record with offset {position - 1}")
    if high_watermark is not None and offset >= high_watermark:
        raise DamagedOffset(f"a record has offset {offset}, but the partition ends at {high_watermark}")


class DamagedRange(NamedTuple):
    """The unreadable offsets `first` <= offset < `end`. There is no record from `position` up to `first`."""

    partition: int
    position: int
    first: int
    end: int
    reason: str
