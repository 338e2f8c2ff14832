"""Checks of a record's row in the orders table: its fields, coordinates and times."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from orderflow.audit.contract_versions import ContractVersions, ReadRecord
from orderflow.audit.partition import Partition, is_timestamp
from orderflow.audit.report import Report, Values
from orderflow.contract.definition import Contract, Order
from orderflow.store.orders import ExistingRow
from orderflow.store.snapshot import AuditedQuarantineEntry
from orderflow.topic import Record

_NOT_STORED = "is neither stored nor in the quarantine"


def check_stored(
    read: ReadRecord,
    row: ExistingRow | None,
    replayed: AuditedQuarantineEntry | None,
    *,
    part: Partition,
    versions: ContractVersions,
    report: Report,
) -> None:
    """Check the row of a record that should be stored: one that was never in the quarantine, or was replayed.

    `row` is the stored order of the record's order_id, and `replayed` the record's row in the quarantine.
    """
    record, result, contract_id = read
    if not isinstance(result, Order):
        outcome = "was replayed" if replayed else "is not in the quarantine"
        description = f"breaks the contract ({result.reason}: {result.message}), but {outcome}"
        report.add("missing", part.finding(description, record.offset))
        return
    if row is None:
        description = "was replayed, but is not stored" if replayed else _NOT_STORED
        report.add("missing", part.finding(description, record.offset, result.order_id))
        return
    is_own = _is_own(part, record, result.order_id, row, replayed)
    if is_own:
        part.add_row(record.offset, result.order_id, row.stored_at)
    else:
        row = versions.row_as_read(row, contract_id)
    if not replayed:
        part.update_last_record(record.offset, row.stored_at if is_own else None)
    if row.order != result.row():
        fields = differences(versions.newest, result, row.order)
        description = f"is stored with another {', '.join(fields)}"
        if not is_own:
            description += " from another record, so this record should be in the quarantine"
        finding = part.finding(description, record.offset, result.order_id)
        report.add("different", msgspec.structs.replace(finding, fields=fields))
    elif is_own and (time_error := check_times(record, row, replayed)):
        report.add("different", part.finding(time_error, record.offset, result.order_id))
    elif not is_own and _has_later_coordinates(part, record, row, replayed):
        description = f"is stored with the coordinates of a later record (offset {row.offset})"
        report.add("different", part.finding(description, record.offset, result.order_id))
    elif is_own:
        report.stored += 1
    else:
        report.duplicates += 1
        part.counts["duplicates"] += 1


def _is_own(
    part: Partition, record: Record, order_id: str, row: ExistingRow, replayed: AuditedQuarantineEntry | None
) -> bool:
    """Whether the record became this row."""
    if (row.offset, row.partition) != (record.offset, record.partition):
        return False
    # A record of another topic may have the same coordinates; usually the times differ.
    return not part.peers or not (
        check_times(record, row, replayed) or any(peer.has_row(record.offset, order_id) for peer in part.peers)
    )


def _has_later_coordinates(
    part: Partition, record: Record, row: ExistingRow, replayed: AuditedQuarantineEntry | None
) -> bool:
    """Whether the row has the coordinates of a later record, although this record was the first of its order_id.

    Returns False if the order cannot be known: for a replayed record; if records have left the topic, because an
    earlier row may have been archived; if another topic has a partition of this number, because the row may belong to
    that topic.
    """
    if row.partition != record.partition or row.offset is None or row.offset <= record.offset:
        return False
    return not (replayed or part.unreadable_count or part.peers)


def check_times(record: Record, row: ExistingRow, replayed: AuditedQuarantineEntry | None) -> str | None:
    """The error in the times of the row that the record became, or None."""
    if not is_timestamp(row.produced_at, record.timestamp):
        return f"is stored with produced_at {row.produced_at}, which is not the record's timestamp"
    if row.stored_at is None:
        return "is stored without stored_at"
    if replayed and row.stored_at != replayed.resolved_at:
        return f"is stored with stored_at {row.stored_at}, but was replayed at {replayed.resolved_at}"
    return None


def differences(contract: Contract, order: Order, existing_row: Sequence[object]) -> dict[str, Values]:
    """The fields in which an order and its row differ, each with both values."""
    return {
        name: Values(record=str(given), table=str(stored))
        for name, given, stored in zip(contract.names, order.row(), existing_row, strict=True)
        if given != stored
    }
