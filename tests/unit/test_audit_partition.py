"""The audit's state of one partition: which offsets are readable, lost, stored or quarantined."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.audit.partition import AuditedPartition
from orderflow.store.ledger import LastRecord, LedgerEntry, Loss
from orderflow.store.snapshot import LedgerControlValues
from orderflow.topic import Bounds

NOW = datetime(2025, 1, 15, 14, 30, 45, 123456)  # noqa: DTZ001 - as the server returns times


LATER = NOW + timedelta(seconds=1)


MOVED = datetime(2025, 1, 1)  # noqa: DTZ001


def partition(first: int, next_offset: int, readable_from: int) -> AuditedPartition:
    entry = LedgerEntry("orders", 0, "id", first, next_offset, 0, 0, 0, 0, MOVED)
    return AuditedPartition(entry, Bounds(readable_from, next_offset))


@given(*[st.integers(0, 1000)] * 3, st.integers(-10, 1010))
def test_each_offset_of_the_ledger_is_readable_or_removed(
    first: int, count: int, readable_from: int, offset: int
) -> None:
    part = partition(first, first + count, readable_from)
    is_accounted_for = first <= offset < first + count
    assert part.is_readable(offset) == (is_accounted_for and offset >= readable_from)
    assert part.is_removed(offset) == (is_accounted_for and offset < readable_from)
    assert part.size + part.removed_count == count
    assert not part.has_row(offset, "ORDER-000001")
    assert not part.is_quarantined(offset)


@given(st.integers(10, 100), st.integers(1, 100))
def test_records_that_leave_the_topic_before_they_are_read_are_removed(position: int, count: int) -> None:
    part = partition(0, 100, 10)
    part.next_to_read, first = position, position + count
    part.remove_before(first)
    gone = {*range(10), *range(position, min(first, 100))}
    assert {offset for offset in range(-5, 205) if part.is_removed(offset)} == gone
    assert {offset for offset in range(-5, 205) if part.is_readable(offset)} == {*range(100)} - gone
    assert part.removed_count == len(gone)
    assert list(part.readable_ranges()) == ([(first, 100)] if first < 100 else [])


def test_a_loss_that_was_removed_meanwhile_is_no_finding() -> None:
    losses = [Loss("orders", "id", 0, first, first + 10) for first in (0, 30, 50, 70)]
    part = AuditedPartition(partition(0, 100, 10).entry, Bounds(10, 100), losses)
    part.next_to_read = 20
    part.remove_before(60)
    assert [part.may_be_lost(loss) for loss in losses] == [True, True, True, False]
    assert part.removed_count == 10 + 40 - 30
    part.damaged = losses[3:]
    assert part.may_be_lost(losses[3])
    assert list(part.readable_ranges()) == [(60, 70), (80, 100)]


@given(st.dictionaries(st.integers(5, 50), st.one_of(st.none(), st.text(max_size=5))))
def test_a_partition_registers_the_row_of_each_record(rows: dict[int, str | None]) -> None:
    part = partition(0, 51, 5)
    for offset, order_id in rows.items():
        if order_id is None:
            part.add_quarantined(offset, NOW, None)
        else:
            part.add_row(offset, order_id, NOW)
    for offset in range(-1, 52):
        order_id = rows.get(offset)
        assert part.is_quarantined(offset) == (offset in rows and order_id is None)
        assert part.has_row(offset, order_id or "") == (order_id is not None)
        assert not part.has_row(offset, "another")
    assert part.counts.total() == len(rows)


@pytest.mark.parametrize(
    ("written_at", "last", "readable_from", "resolved_at", "moved_at"),
    [
        (LATER, 9, 0, None, LATER),
        (MOVED, 9, 0, None, None),
        (None, 9, 0, None, None),  # a duplicate
        (LATER, 8, 0, None, None),  # a later record left no row
        (LATER, 9, 5, None, None),  # a replayed record may have been deleted
        (LATER, 9, 0, MOVED, None),
        (LATER, 9, 0, NOW, LATER),
    ],
)
def test_the_ledger_is_expected_to_be_updated_with_the_last_row(
    written_at: datetime | None, last: int, readable_from: int, resolved_at: datetime | None, moved_at: datetime | None
) -> None:
    part = partition(0, 10, readable_from)
    part.add_quarantined(7, NOW, resolved_at)
    part.update_last_record(last, written_at)
    part.update_last_record(7, NOW)  # the quarantine's rows and the orders are added separately
    assert part.expected_update == moved_at


def test_the_ledger_is_not_updated_when_it_moves_past_markers() -> None:
    control_values = LedgerControlValues(0, 0, 0, last=LastRecord(7))
    part = AuditedPartition(partition(0, 10, 0).entry, Bounds(0, 10), (), control_values)
    part.update_last_record(7, LATER)
    assert part.expected_update == LATER
