"""Checks whether the reason of a record in the quarantine holds."""

from __future__ import annotations

from datetime import datetime

from orderflow.contract.definition import Order, Reason
from orderflow.errors import RecordRejected
from orderflow.order_ranges import outside_ranges
from orderflow.store.orders import ExistingRow
from orderflow.store.snapshot import AuditedQuarantineEntry
from orderflow.topic import Record

_WITH_ORDER_ID = (Reason.CONFLICT, Reason.REFUSED_BY_DATABASE)  # reasons of records that the contract accepted


def check_reason(
    record: Record,
    quarantined: AuditedQuarantineEntry,
    result: Order | RecordRejected,
    row: ExistingRow | None,
    *,
    rows_may_be_gone: bool,
    coordinates_are_shared: bool,
) -> str | None:
    """Return why the reason of the record's row in the quarantine does not hold, or None if it can hold.

    `result` is the contract's result for the value, and `row` is the stored order of the same id. `rows_may_be_gone`:
    orders whose records have left the topic may have been archived. `coordinates_are_shared`: several topics have a
    partition of this number.
    """
    prefix = f"is in the quarantine for {quarantined.reason}"
    if isinstance(result, RecordRejected):
        if quarantined.reason != result.reason:
            return f"{prefix}, but the contract rejects it for {result.reason}"
        return (
            None
            if quarantined.order_id is None
            else f"{prefix} with order_id {quarantined.order_id!a}, which cannot be read"
        )
    order_id = result.order_id if quarantined.reason in _WITH_ORDER_ID else None
    if quarantined.order_id != order_id:
        return f"{prefix} with order_id {quarantined.order_id!a}, not {order_id!a}"
    if quarantined.status == "replayed" and quarantined.corrected is None:
        return None  # a replay has accepted it, and its order is checked instead
    if quarantined.reason == Reason.OUTSIDE_RANGES and outside_ranges(result):
        return None
    is_same = row is not None and row.order == result.row()
    if quarantined.reason == Reason.CONFLICT:
        if rows_may_be_gone and _is_later(row, quarantined.quarantined_at):
            return None
        if row is None or is_same:
            return f"{prefix}, but " + ("the same order is stored" if is_same else "no order with its id is stored")
        if (
            quarantined.reason_contract_id is None  # otherwise a replay found the conflict, when both were there
            and not coordinates_are_shared
            and _is_of_later_record(row, record)
            and not _is_later(row, quarantined.quarantined_at)
        ):
            return f"{prefix} with the order of a later record (offset {row.offset})"
        return None
    if quarantined.reason == Reason.REFUSED_BY_DATABASE:
        if row is None or not _existed_at(row, record, quarantined.quarantined_at):
            return None
        return f"{prefix}, but its order was stored before: it is a {'duplicate' if is_same else 'conflict'}"
    return f"{prefix}, but the contract accepts it; `orderflow quarantine replay` stores it"


def _is_later(row: ExistingRow | None, moment: datetime) -> bool:
    return row is None or (row.stored_at is not None and row.stored_at > moment)


def _is_of_later_record(row: ExistingRow, record: Record) -> bool:
    return row.partition == record.partition and row.offset is not None and row.offset > record.offset


def _existed_at(row: ExistingRow, record: Record, moment: datetime) -> bool:
    """Whether the row was in the table when the database refused the record at `moment`."""
    if row.stored_at is None or row.stored_at < moment:
        return True
    earlier = row.partition == record.partition and row.offset is not None and row.offset < record.offset
    return row.stored_at == moment and earlier
