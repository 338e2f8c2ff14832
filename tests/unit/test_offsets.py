"""Which offsets a reader's events prove, on simulated logs with markers, aborted, compacted and truncated records.

Also: what the last record of a partition proves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow import topic
from orderflow.errors import BatchDamaged, OffsetsLost, OffsetsReused, OrderFlowError
from orderflow.offsets import DamagedOffsetError, OffsetRange
from orderflow.settings import Settings
from orderflow.start_checks import AccountedOffsets, accounted_offsets, check_accounted_offsets
from orderflow.store import ledger
from orderflow.store.ledger import LastRecord
from orderflow.topic import Record

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
    with pytest.raises(DamagedOffsetError, match=str(offset)):
        wanted.on_record(offset, high_watermark)
    assert wanted.position == 100


STORED = Record(0, 99, 1_736_951_445_123, b"key", b"value")
NO_TIME = STORED._replace(timestamp=-1)


@pytest.mark.parametrize(
    ("stored", "found", "is_same"),
    [
        (STORED, STORED, True),
        (STORED, STORED._replace(value=None), True),  # write_orders was given another value
        (STORED, STORED._replace(key=b"another"), False),
        (STORED, STORED._replace(key=None), False),
        (STORED._replace(key=None), STORED._replace(key=b""), False),
        (STORED, STORED._replace(timestamp=STORED.timestamp + 1), False),
        (NO_TIME, NO_TIME._replace(timestamp=2**62), True),  # neither time can be stored
        (STORED, None, True),  # nothing can be compared
    ],
)
def test_the_last_record_is_compared(
    stored: Record, found: Record | None, is_same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = LastRecord(99, ledger.fingerprint(stored.timestamp, stored.key))
    # Partition 1 begins after its last record, and the topic does not have partition 2.
    monkeypatch.setattr(ledger, "last_records", lambda *_: dict.fromkeys(range(3), last))
    read = mock.Mock(return_value={0: found} if found else {})
    monkeypatch.setattr(topic, "records_at", read)
    monkeypatch.setattr(ledger, "entries", lambda *_: [])
    monkeypatch.setattr(ledger, "losses", lambda *_: [])
    settings = Settings(kafka_topic="orders")
    accounted = accounted_offsets(settings, mock.Mock(), {0: 99, 1: 100})
    if is_same:
        check_accounted_offsets(settings, accounted)
    else:
        with pytest.raises(OffsetsReused, match="orders partition 0 has another record at offset 99 than the one"):
            check_accounted_offsets(settings, accounted)
    read.assert_called_once_with(settings, {0: 99})


@pytest.mark.parametrize(
    ("last_offset", "stored", "records", "reused"),
    [
        (9, 10, {9}, None),
        (9, 10, {9, 16}, None),  # not stored yet
        (9, 10, {9, 13, 14}, None),  # an accepted loss whose batch can be read again
        (9, 10, {9, 12}, "has records at offsets 10 to 12, which held none before"),
        (9, 10, {9, 15}, "has records at offsets 15 to 15, which held none before"),
        (None, 0, {5}, "has records at offsets 4 to 12, which held none before"),
        (None, 0, {3}, None),  # before the ledger's first offset
        (None, 10, {5}, None),  # stored by an earlier version, which kept no last offset
    ],
)
def test_offsets_without_records_must_stay_so(
    last_offset: int | None, stored: int, records: set[int], reused: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is at 16 and begins at 4; the offsets 13 and 14 are accepted as lost."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    last = {} if last_offset is None else {0: LastRecord(last_offset, ledger.fingerprint(STORED.timestamp, STORED.key))}
    entry = ledger.LedgerEntry("orders", 0, "id", 4, 16, stored, 0, 0, 0, moment)
    monkeypatch.setattr(ledger, "last_records", lambda *_: last)
    monkeypatch.setattr(ledger, "entries", lambda *_: [entry])
    monkeypatch.setattr(ledger, "losses", lambda *_: [ledger.Loss("orders", "id", 0, 13, 15, moment, "ann")])
    monkeypatch.setattr(topic, "records_at", lambda *_: {0: STORED._replace(offset=9)})
    monkeypatch.setattr(topic, "holds_records", lambda _, __, start, end: bool(records & {*range(start, end)}))
    settings = Settings(kafka_topic="orders")
    accounted = accounted_offsets(settings, mock.Mock(), {0: 0})
    if reused is None:
        check_accounted_offsets(settings, accounted)
    else:
        with pytest.raises(OffsetsReused, match=reused):
            check_accounted_offsets(settings, accounted)


@pytest.mark.parametrize("error", [OffsetsLost("Gone."), BatchDamaged("A wrong checksum.")])
def test_offsets_that_cannot_be_read_any_more_prove_nothing(
    error: OrderFlowError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a damaged transaction marker behind the last order would stop each start."""
    monkeypatch.setattr(topic, "holds_records", mock.Mock(side_effect=[error, True]))
    accounted = AccountedOffsets({}, [(0, 10, 12), (1, 20, 22)])
    with pytest.raises(OffsetsReused, match="partition 1 has records at offsets 20 to 21"):
        check_accounted_offsets(Settings(kafka_topic="orders"), accounted)
