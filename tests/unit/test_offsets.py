"""Which offsets a reader's events prove, on simulated logs with markers, aborted, compacted and truncated records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.offsets import DamagedOffset, OffsetRange

Slot = Literal["record", "marker", "aborted", "compacted"]


class Log(NamedTuple):
    """The real content of one partition: what each offset holds."""

    slots: Sequence[Slot]

    def records(self, start: int, end: int) -> list[int]:
        return [offset for offset in range(start, min(end, len(self.slots))) if self.is_record(offset)]

    def is_record(self, offset: int) -> bool:
        return self.slots[offset] == "record"

    def events(self, start: int, ends: Sequence[int]) -> Iterator[tuple[str, int]]:
        """Yield what a client that starts at `start` sees, while leaders report one end offset after another."""
        position = start
        for end in ends:
            for offset in range(position, end):
                if self.is_record(offset):
                    yield "record", offset
            position = max(position, end)
            yield "end", end


def logs() -> st.SearchStrategy[Log]:
    kinds: st.SearchStrategy[Slot] = st.sampled_from(("record", "marker", "aborted", "compacted"))
    return st.builds(Log, st.lists(kinds, max_size=30))


def read(wanted: OffsetRange, events: Iterator[tuple[str, int]]) -> list[int]:
    """Read like topic.read, which waits for offsets that are still unknown after the last event."""
    records = []
    while not wanted.is_known:
        kind, offset = next(events, (None, 0))
        if kind is None:
            break
        if kind == "end":
            wanted.on_end(offset)
        elif wanted.on_record(offset):
            records.append(offset)
    return records


@given(logs(), st.data())
def test_the_absence_of_records_is_proven_or_unknown(log: Log, data: st.DataObject) -> None:
    size = len(log.slots)
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size + 5))  # may be beyond the log, which was truncated
    ends = data.draw(st.lists(st.integers(0, size), max_size=4))  # a new leader may report an older end
    wanted = OffsetRange(start, end)
    records = read(wanted, log.events(start, ends))
    if wanted.is_known:
        assert records == log.records(start, end)
    else:
        assert records == log.records(start, min(end, max([start, *ends])))
        assert max([start, *ends]) < end
        if ends and ends[-1] < end:
            assert wanted.premature_end == ends[-1]


@given(logs(), st.data())
def test_an_end_at_or_after_the_range_proves_it(log: Log, data: st.DataObject) -> None:
    size = len(log.slots)
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    wanted = OffsetRange(start, end)
    assert read(wanted, log.events(start, [size])) == log.records(start, end)
    assert wanted.is_known


def test_an_older_end_proves_nothing() -> None:
    wanted = OffsetRange(100, 200)
    wanted.on_end(100)
    assert not wanted.is_known and wanted.premature_end == 100
    assert wanted.on_record(150)
    assert wanted.premature_end is None
    wanted.on_end(200)
    assert wanted.is_known


@pytest.mark.parametrize("offset", [200, 201, 999])
def test_a_record_after_the_range_proves_it(offset: int) -> None:
    wanted = OffsetRange(100, 200)
    assert not wanted.on_record(offset)
    assert wanted.is_known


@pytest.mark.parametrize(("offset", "high_watermark"), [(99, 1000), (99, None), (1000, 1000), (2**58, 1000)])
def test_offsets_that_no_log_has_are_damage(offset: int, high_watermark: int | None) -> None:
    wanted = OffsetRange(100, 200)
    with pytest.raises(DamagedOffset, match=str(offset)):
        wanted.on_record(offset, high_watermark)
    assert wanted.position == 100
