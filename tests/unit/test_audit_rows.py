"""How the audit compares a record with its row in the orders table or in the quarantine."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.audit.partition import is_timestamp
from orderflow.audit.reasons import QuarantinedRecord, check_reason
from orderflow.audit.report import DifferingValues
from orderflow.audit.stored_rows import differences
from orderflow.contract.definition import DEFAULT, Order, Reason
from orderflow.errors import RecordRejected
from orderflow.store.existing_orders import ExistingRow
from orderflow.store.record_batch import produced_at
from orderflow.store.snapshot import AuditedQuarantineEntry
from orderflow.topic import Record
from tests.support.corpus import ORDER

NOW = datetime(2025, 1, 15, 14, 30, 45, 123456)  # noqa: DTZ001 - as the server returns times


LATER, EARLIER = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)


IN_RANGES = msgspec.structs.replace(ORDER, unit_price=Decimal(60), quantity=1, total_price=Decimal(60))


def record(offset: int, value: bytes = b"x") -> Record:
    return Record(0, offset, 0, None, value)


def test_only_fields_with_another_value_differ() -> None:
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
        ({"reason": "refused_by_database"}, ORDER, ROW._replace(offset=11, stored_at=EARLIER), None),  # speculative
        ({"reason": "refused_by_database"}, ORDER, ROW._replace(partition=1, stored_at=EARLIER), None),
        ({"reason": "outside_ranges", "order_id": None}, ORDER, None, None),
        ({"reason": "outside_ranges", "order_id": None}, IN_RANGES, None, "the contract accepts it"),
        ({"reason": "null_value", "order_id": None}, ORDER, None, "the contract accepts it"),
        ({"reason": "null_value", "order_id": None, "status": "replayed"}, ORDER, ROW, None),
        ({"reason": "null_value", "order_id": None, "status": "replayed", "corrected": b""}, ORDER, ROW, "accepts it"),
    ],
)
def test_a_quarantine_reason_that_does_not_hold_is_reported(
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
