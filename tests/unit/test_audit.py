"""The audit's counters and checks, without servers."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow import topic
from orderflow.audit import scope
from orderflow.audit.partition import Partition, is_timestamp
from orderflow.audit.reasons import QuarantinedRecord, check_reason
from orderflow.audit.report import LISTED, DifferingValues, Finding, Report
from orderflow.audit.stored_rows import differences
from orderflow.audit.topic_records import CHUNK, CHUNK_BYTES, split
from orderflow.contract.definition import DEFAULT, Order, Reason
from orderflow.errors import OffsetsLost, RecordRejected
from orderflow.settings import Settings
from orderflow.store.audits import Audit
from orderflow.store.ledger import LastRecord, LedgerEntry, Loss
from orderflow.store.orders import ExistingRow
from orderflow.store.record_batch import produced_at
from orderflow.store.snapshot import AuditedQuarantineEntry, LedgerChecks
from orderflow.topic import Bounds, Record, TopicInfo
from tests.support.corpus import ORDER

NOW = datetime(2025, 1, 15, 14, 30, 45, 123456)  # noqa: DTZ001 - as the server returns times
LATER, EARLIER = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)
MOVED = datetime(2025, 1, 1)  # noqa: DTZ001
IN_RANGES = msgspec.structs.replace(ORDER, unit_price=Decimal(60), quantity=1, total_price=Decimal(60))
LARGE = b"x" * CHUNK_BYTES


def partition(first: int, next_offset: int, readable_from: int) -> Partition:
    entry = LedgerEntry("orders", 0, "id", first, next_offset, 0, 0, 0, 0, MOVED)
    return Partition(entry, Bounds(readable_from, next_offset))


def record(offset: int, value: bytes = b"x") -> Record:
    return Record(0, offset, 0, None, value)


@given(*[st.integers(0, 1000)] * 3, st.integers(-10, 1010))
def test_each_offset_of_the_ledger_is_read_or_lost(first: int, count: int, readable_from: int, offset: int) -> None:
    part = partition(first, first + count, readable_from)
    is_accounted_for = first <= offset < first + count
    assert part.is_readable(offset) == (is_accounted_for and offset >= readable_from)
    assert part.is_unreadable(offset) == (is_accounted_for and offset < readable_from)
    assert part.size + part.unreadable_count == count
    assert not part.has_row(offset, "ORDER-000001")
    assert not part.is_quarantined(offset)


@given(st.integers(10, 100), st.integers(1, 100))
def test_what_is_removed_before_it_is_read_is_lost(position: int, count: int) -> None:
    part = partition(0, 100, 10)
    part.position, first = position, position + count
    part.remove_before(first)
    gone = {*range(10), *range(position, min(first, 100))}
    assert {offset for offset in range(-5, 205) if part.is_unreadable(offset)} == gone
    assert {offset for offset in range(-5, 205) if part.is_readable(offset)} == {*range(100)} - gone
    assert part.unreadable_count == len(gone)
    assert list(part.readable_ranges()) == ([(first, 100)] if first < 100 else [])


def test_a_loss_that_was_removed_meanwhile_is_no_finding() -> None:
    losses = [Loss("orders", "id", 0, first, first + 10) for first in (0, 30, 50, 70)]
    part = Partition(partition(0, 100, 10).entry, Bounds(10, 100), losses)
    part.position = 20
    part.remove_before(60)
    assert [part.may_be_lost(loss) for loss in losses] == [True, True, True, False]
    assert part.unreadable_count == 10 + 40 - 30
    part.damaged = losses[3:]
    assert part.may_be_lost(losses[3])
    assert list(part.readable_ranges()) == [(60, 70), (80, 100)]


@given(st.dictionaries(st.integers(5, 50), st.one_of(st.none(), st.text(max_size=5))))
def test_a_partition_stores_which_row_each_record_became(rows: dict[int, str | None]) -> None:
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
def test_the_ledger_moves_when_something_is_written(
    written_at: datetime | None, last: int, readable_from: int, resolved_at: datetime | None, moved_at: datetime | None
) -> None:
    part = partition(0, 10, readable_from)
    part.add_quarantined(7, NOW, resolved_at)
    part.update_last_record(last, written_at)
    part.update_last_record(7, NOW)  # the quarantine's rows and the orders are added separately
    assert part.expected_update == moved_at


def test_the_ledger_is_not_updated_when_it_moves_past_markers() -> None:
    checks = LedgerChecks(0, 0, 0, last=LastRecord(7))
    part = Partition(partition(0, 10, 0).entry, Bounds(0, 10), (), checks)
    part.update_last_record(7, LATER)
    assert part.expected_update == LATER


@given(st.sets(st.integers(0, 100)), st.integers(1, 10))
def test_chunks_contain_all_records_up_to_the_end(offsets: set[int], large: int) -> None:
    records = [record(offset, LARGE if offset % large == 0 else b"x") for offset in sorted(offsets)]
    chunks = list(split(records, 101))
    assert [chunk_record for chunk, _ in chunks for chunk_record in chunk] == records
    assert chunks[-1][1] == 101
    position = 0
    for chunk, end in chunks:
        assert all(position <= chunk_record.offset < end for chunk_record in chunk)
        assert sum(len(chunk_record.value or b"") for chunk_record in chunk) < 2 * CHUNK_BYTES
        position = end


def test_chunks_are_bounded() -> None:
    assert [len(chunk) for chunk, _ in split(map(record, range(2 * CHUNK + 1)), 3 * CHUNK)] == [CHUNK, CHUNK, 1]


def test_differences_are_exact() -> None:
    order = msgspec.structs.replace(ORDER, unit_price=Decimal("45.9"))
    row = order.row()
    assert not differences(DEFAULT, order, (*row[:4], Decimal("45.90"), *row[5:]))
    changed = (1, row[1], "yoga mat", row[3], Decimal("45.91"), 3, Decimal("91.99"), None)
    assert differences(DEFAULT, order, changed) == {
        "customer_id": DifferingValues(record="87654", table="1"),
        "product_name": DifferingValues(record="Yoga Mat", table="yoga mat"),
        "unit_price": DifferingValues(record="45.9", table="45.91"),
        "quantity": DifferingValues(record="2", table="3"),
        "total_price": DifferingValues(record="91.98", table="91.99"),
        "order_timestamp": DifferingValues(record="2025-01-15 14:30:45", table="None"),
    }


KEPT = AuditedQuarantineEntry(
    b"k", b"v", "orders", None, None, NOW, "conflict", ORDER.order_id, "open", None, None, None
)
ROW = ExistingRow(ORDER.row(), 0, 5, None, NOW)
OTHER = ExistingRow((1, *ORDER.row()[1:]), 0, 5, None, NOW)
REJECTED = RecordRejected(Reason.WRONG_TOTAL, "")


@pytest.mark.parametrize(
    ("kept", "result", "row", "wrong"),
    [
        ({"reason": "wrong_total", "order_id": None}, REJECTED, None, None),
        ({"reason": "wrong_total"}, REJECTED, None, "cannot be read"),
        ({"reason": "null_value", "order_id": None}, REJECTED, None, "rejects it for wrong_total"),
        ({"reason": "conflict", "order_id": None}, REJECTED, None, "rejects it for wrong_total"),
        ({}, ORDER, OTHER, None),
        ({}, ORDER, ROW, "the same order is stored"),
        ({}, ORDER, None, "no order with its id"),
        ({"order_id": None}, ORDER, OTHER, "with order_id None"),
        ({"order_id": "ORDER-000009"}, ORDER, OTHER, "with order_id 'ORDER-000009'"),
        ({}, ORDER, OTHER._replace(offset=11), "a later record"),  # the first of a partition is stored
        ({"reason_contract_id": 0}, ORDER, OTHER._replace(offset=11), None),  # unless a replay found the conflict
        ({}, ORDER, OTHER._replace(offset=11, partition=1), None),
        ({}, ORDER, OTHER._replace(offset=11, stored_at=LATER), None),  # a conflict with an order that a replay stored
        ({"reason": "refused_by_database"}, ORDER, None, None),
        ({"reason": "refused_by_database"}, ORDER, ROW._replace(stored_at=LATER), None),
        ({"reason": "refused_by_database"}, ORDER, ROW._replace(stored_at=EARLIER), "it is a duplicate"),
        ({"reason": "refused_by_database"}, ORDER, OTHER._replace(stored_at=EARLIER), "it is a conflict"),
        ({"reason": "refused_by_database"}, ORDER, ROW._replace(stored_at=None), "it is a duplicate"),
        ({"reason": "refused_by_database"}, ORDER, ROW, "it is a duplicate"),
        ({"reason": "refused_by_database"}, ORDER, ROW._replace(offset=11), None),  # in the same transaction
        ({"reason": "outside_ranges", "order_id": None}, ORDER, None, None),
        ({"reason": "outside_ranges", "order_id": None}, IN_RANGES, None, "the contract accepts it"),
        ({"reason": "null_value", "order_id": None}, ORDER, None, "the contract accepts it"),
        ({"reason": "null_value", "order_id": None, "status": "replayed"}, ORDER, ROW, None),
        ({"reason": "null_value", "order_id": None, "status": "replayed", "corrected": b""}, ORDER, ROW, "accepts it"),
    ],
)
def test_a_reason_holds_or_is_found(
    kept: dict[str, Any], result: Order | RecordRejected, row: ExistingRow | None, wrong: str | None
) -> None:
    rejected_record = record(10)
    quarantined = QuarantinedRecord(
        rejected_record, KEPT._replace(**kept), row, rows_may_be_gone=False, coordinates_are_shared=False
    )
    finding = check_reason(quarantined, result)
    assert wrong in finding if wrong and finding else finding is wrong


@pytest.mark.parametrize("stored_at", [None, EARLIER, LATER])
def test_a_row_that_may_be_archived_is_no_finding(stored_at: datetime | None) -> None:
    for row in (None, ROW._replace(stored_at=stored_at)):
        quarantined = QuarantinedRecord(record(10), KEPT, row, rows_may_be_gone=True, coordinates_are_shared=False)
        finding = check_reason(quarantined, ORDER)
        assert (finding is None) == (row is None or stored_at == LATER)


@pytest.mark.parametrize(
    "report",
    [
        Report(records=1000, stored=1000),
        Report(records=1, duplicates=1),
        Report(records=1000, counts={"missing": 1}),
        Report(records=1000, counts={"missing": 2, "rollup": 3}),
    ],
)
def test_a_stored_result_agrees_with_itself(report: Report) -> None:
    stored = Audit(
        NOW, is_proven=report.is_proven, records=report.records, findings=report.findings, sentence=report.sentence()
    )
    assert stored.is_consistent
    other = {"is_proven": not stored.is_proven, "records": 999, "findings": stored.findings + 1, "sentence": ""}
    for column, value in other.items():
        assert not msgspec.structs.replace(stored, **{column: value}).is_consistent
    assert not msgspec.structs.replace(
        stored, is_proven=not stored.is_proven, findings=int(stored.is_proven)
    ).is_consistent


@pytest.mark.parametrize(
    "sentence",
    [
        "Not proven: among 1,000 records and the tables, 1 missing.",
        "Not proven: 1 finding among 1,000 records and the tables: 1 missing.",
    ],
)
def test_the_sentence_of_an_earlier_version_agrees(sentence: str) -> None:
    stored = Audit(NOW, is_proven=False, records=1000, findings=1, sentence=sentence)
    assert stored.is_consistent
    assert not msgspec.structs.replace(stored, records=1001).is_consistent
    assert not msgspec.structs.replace(stored, is_proven=True, findings=0).is_consistent


@given(st.integers(-1, 253_402_300_800_000))
def test_a_timestamp_is_compared_to_the_millisecond(timestamp: int) -> None:
    text = produced_at(timestamp)
    stored = text and datetime.fromisoformat(text)
    assert is_timestamp(stored or None, timestamp)
    if stored:
        assert not is_timestamp(stored - timedelta(milliseconds=1), timestamp)
        assert not is_timestamp(None, timestamp)
    else:
        assert not is_timestamp(NOW, timestamp)


def test_a_report_counts_what_it_does_not_list() -> None:
    report = Report(records=1_000_000, stored=980_100, duplicates=9_900, quarantined=10_000)
    assert report.is_proven
    assert report.sentence() == "Proven: 1,000,000 records = 980,100 stored + 9,900 duplicates + 10,000 quarantined."
    for offset in range(LISTED + 5):
        report.add("missing", Finding(description="is missing", offset=offset))
    report.add("rollup", Finding(description="is wrong"))
    assert not report.is_proven
    assert (len(report.missing), report.counts["missing"]) == (LISTED, LISTED + 5)
    assert report.sentence() == (
        "Not proven: 1,000,000 records read, 106 findings: 105 missing, 1 wrong in the rollup."
    )
    assert report.summary()["rollup"] == [{"what": "is wrong"}]
    assert not Report().missing  # reports share no lists


def test_an_older_end_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that restarts may briefly report an older end. Records that it has lost stay away."""
    entry = partition(0, 9, 0).entry
    info, ends = TopicInfo("orders", "id", (0,)), iter([5, 5, 9])
    monkeypatch.setattr(scope, "_END_INTERVAL", 0.0)
    monkeypatch.setattr(topic, "bounds", lambda *_: {0: Bounds(0, next(ends, 5))})
    assert scope._wait_for_ends(Settings(), info, [entry], 10.0) == ({("orders", 0): Bounds(0, 9)}, [])
    with pytest.raises(OffsetsLost, match="ends at offset 5, before the ledger's position 9: Kafka is rec") as raised:
        scope._wait_for_ends(Settings(), info, [entry], 0.0)
    assert "MYSQL_TABLE" in raised.value.hint
