"""Checks whether the reason of a record in the quarantine holds."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from orderflow.contract.definition import Order, Reason
from orderflow.contract.order_ranges import outside_ranges
from orderflow.errors import RecordRejected
from orderflow.store.existing_orders import ExistingRow
from orderflow.store.snapshot import AuditedQuarantineEntry
from orderflow.topic import Record

_WITH_ORDER_ID = (Reason.CONFLICT, Reason.REFUSED_BY_DATABASE)  # reasons of records that the contract accepted


class QuarantinedRecord(NamedTuple):
    """A record in the quarantine, and what decides whether its reason holds.

    `existing_row` has the same order_id. `rows_may_be_gone`: orders whose records have left the topic may have been
    archived. `coordinates_are_shared`: several topics have a partition of this number.
    """

    record: Record
    entry: AuditedQuarantineEntry
    existing_row: ExistingRow | None
    rows_may_be_gone: bool
    coordinates_are_shared: bool


def check_reason(quarantined: QuarantinedRecord, result: Order | RecordRejected) -> str | None:
    """Return why the reason of the record's row in the quarantine does not hold, or None if it can hold.

    `result` is the contract's result for the value.
    """
    if isinstance(result, RecordRejected):
        fault = _check_rejection(quarantined.entry, result)
    else:
        fault = _check_accepted(quarantined, result)
    return fault and f"is in the quarantine for {quarantined.entry.reason}{fault}"


def _check_rejection(entry: AuditedQuarantineEntry, rejection: RecordRejected) -> str | None:
    if entry.reason != rejection.reason:
        return f", but the contract rejects it for {rejection.reason}"
    if entry.order_id is not None:
        return f" with order_id {entry.order_id!a}, which cannot be read"
    return None


def _check_accepted(quarantined: QuarantinedRecord, order: Order) -> str | None:
    """Check the reason of a record that the contract accepts."""
    entry = quarantined.entry
    order_id = order.order_id if entry.reason in _WITH_ORDER_ID else None
    if entry.order_id != order_id:
        return f" with order_id {entry.order_id!a}, not {order_id!a}"
    if entry.status == "replayed" and entry.corrected is None:
        return None  # a replay has accepted it, and its order is checked instead
    if entry.reason == Reason.OUTSIDE_RANGES and outside_ranges(order):
        return None
    is_same = quarantined.existing_row is not None and quarantined.existing_row.order == order.row()
    if entry.reason == Reason.CONFLICT:
        return _check_conflict(quarantined, is_same=is_same)
    if entry.reason == Reason.REFUSED_BY_DATABASE:
        return _check_refusal(quarantined, is_same=is_same)
    return ", but the contract accepts it; `orderflow quarantine replay` stores it"


def _check_conflict(quarantined: QuarantinedRecord, *, is_same: bool) -> str | None:
    """`is_same`: the stored order equals the record's."""
    row, entry = quarantined.existing_row, quarantined.entry
    if quarantined.rows_may_be_gone and _is_later(row, entry.quarantined_at):
        return None
    if row is None or is_same:
        return ", but the same order is stored" if is_same else ", but no order with its id is stored"
    if (
        entry.reason_contract_id is None  # otherwise a replay found the conflict, when both existed
        and not quarantined.coordinates_are_shared
        and _is_of_later_record(row, quarantined.record)
        and not _is_later(row, entry.quarantined_at)
    ):
        return f" with the order of a later record (offset {row.offset})"
    return None


def _check_refusal(quarantined: QuarantinedRecord, *, is_same: bool) -> str | None:
    row, quarantined_at = quarantined.existing_row, quarantined.entry.quarantined_at
    if row is None or not _existed_at(row, quarantined.record, quarantined_at):
        return None
    return f", but its order was stored before: it is a {'duplicate' if is_same else 'conflict'}"


def _is_later(row: ExistingRow | None, moment: datetime) -> bool:
    return row is None or (row.stored_at is not None and row.stored_at > moment)


def _is_of_later_record(row: ExistingRow, record: Record) -> bool:
    return row.partition == record.partition and row.offset is not None and row.offset > record.offset


def _existed_at(row: ExistingRow, record: Record, moment: datetime) -> bool:
    """Whether the row was certainly in the table when the database refused the record at `moment`.

    That is certain of an adopted row, and of an earlier record in the same partition, because a partition's records are
    stored in order. The times alone prove nothing: a speculative write reads its time before the previous commit.
    """
    is_of_earlier_record = row.partition == record.partition and row.offset is not None and row.offset < record.offset
    return row.stored_at is None or (is_of_earlier_record and row.stored_at <= moment)
