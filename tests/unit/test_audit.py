"""The audit's bookkeeping, without servers."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from orderflow.audit.partition import Partition, differences
from orderflow.audit.report import LISTED, Finding, Report, Values
from orderflow.audit.run import _CHUNK, _CHUNK_BYTES, _chunks
from orderflow.store.ledger import Entry
from orderflow.topic import Bounds, Record
from tests.corpus import ORDER

LARGE = b"x" * _CHUNK_BYTES


def partition(first: int, next_offset: int, readable_from: int) -> Partition:
    entry = Entry("orders", 0, "id", first, next_offset, 0, 0, 0, 0, datetime(2025, 1, 1, tzinfo=UTC))
    return Partition(entry, Bounds(readable_from, next_offset))


def record(offset: int, value: bytes = b"x") -> Record:
    return Record(0, offset, 0, None, value)


@given(*[st.integers(0, 1000)] * 3, st.integers(-10, 1010))
def test_each_offset_of_the_ledger_is_read_or_lost(first: int, count: int, readable_from: int, offset: int) -> None:
    part = partition(first, first + count, readable_from)
    accounted = first <= offset < first + count
    assert part.reads(offset) == (accounted and offset >= readable_from)
    assert part.has_lost(offset) == (accounted and offset < readable_from)
    assert part.size + part.lost == count
    assert not part.owns(offset, "ORDER-000001")
    assert not part.is_quarantined(offset)


@given(st.dictionaries(st.integers(5, 50), st.one_of(st.none(), st.text(max_size=5))))
def test_a_partition_knows_which_row_each_record_became(rows: dict[int, str | None]) -> None:
    part = partition(0, 51, 5)
    for offset, order_id in rows.items():
        if order_id is None:
            part.quarantine(offset)
        else:
            part.own(offset, order_id)
    for offset in range(-1, 52):
        order_id = rows.get(offset)
        assert part.is_quarantined(offset) == (offset in rows and order_id is None)
        assert part.owns(offset, order_id or "") == (order_id is not None)
        assert not part.owns(offset, "another")
    assert part.found.total() == len(rows)


@given(st.sets(st.integers(0, 100)), st.integers(1, 10))
def test_chunks_are_all_records_and_reach_to_the_end(offsets: set[int], large: int) -> None:
    records = [record(offset, LARGE if offset % large == 0 else b"x") for offset in sorted(offsets)]
    chunks = list(_chunks(records, 101))
    assert [one for chunk, _ in chunks for one in chunk] == records
    assert chunks[-1][1] == 101
    position = 0
    for chunk, end in chunks:
        assert all(position <= one.offset < end for one in chunk)
        assert sum(len(one.value or b"") for one in chunk) < 2 * _CHUNK_BYTES
        position = end


def test_chunks_are_bounded() -> None:
    assert [len(chunk) for chunk, _ in _chunks(map(record, range(2 * _CHUNK + 1)), 3 * _CHUNK)] == [_CHUNK, _CHUNK, 1]


def test_differences_are_exact() -> None:
    order = msgspec.structs.replace(ORDER, unit_price=Decimal("45.9"))
    row = order.row()
    assert not differences(order, (*row[:4], Decimal("45.90"), *row[5:]))
    changed = (1, row[1], "yoga mat", row[3], Decimal("45.91"), 3, Decimal("91.99"), None)
    assert differences(order, changed) == {
        "customer_id": Values(record="87654", table="1"),
        "product_name": Values(record="Yoga Mat", table="yoga mat"),
        "unit_price": Values(record="45.9", table="45.91"),
        "quantity": Values(record="2", table="3"),
        "total_price": Values(record="91.98", table="91.99"),
        "order_timestamp": Values(record="2025-01-15 14:30:45", table="None"),
    }


def test_a_report_counts_what_it_does_not_list() -> None:
    report = Report(records=1_000_000, stored=980_100, duplicates=9_900, quarantined=10_000)
    assert report.proven
    assert report.sentence() == "Proven: 1,000,000 records = 980,100 stored + 9,900 duplicates + 10,000 quarantined."
    for offset in range(LISTED + 5):
        report.add("missing", Finding(what="is missing", offset=offset))
    report.add("rollup", Finding(what="is wrong"))
    assert not report.proven
    assert (len(report.missing), report.counts["missing"]) == (LISTED, LISTED + 5)
    assert report.sentence() == (
        "Not proven: among 1,000,000 records and the tables, 105 missing, 1 wrong in the rollup."
    )
    assert report.summary()["rollup"] == [{"what": "is wrong"}]
    assert not Report().missing  # each report has lists of its own
