"""Checks of a record's row in the orders table: its fields, coordinates and times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from orderflow.audit.contract_versions import ContractVersions, DecodedRecord
from orderflow.audit.partition import AuditedPartition, is_timestamp
from orderflow.audit.report import DifferingValues, Finding, Report
from orderflow.contract.definition import Contract, Order
from orderflow.store.existing_orders import ExistingRow
from orderflow.store.snapshot import AuditedQuarantineEntry
from orderflow.topic import Record

_NOT_STORED = "is neither stored nor in the quarantine"


class ExpectedOrder(NamedTuple):
    """A record whose order should be stored: one that was never in the quarantine, or was replayed.

    `existing_row` has the order_id of the record. `replayed_entry` is the record's row in the quarantine.
    """

    partition: AuditedPartition
    decoded: DecodedRecord
    existing_row: ExistingRow | None
    replayed_entry: AuditedQuarantineEntry | None

    def finding(self, description: str, order_id: str | None = None) -> Finding:
        """Return a finding with the record's coordinates."""
        return self.partition.finding(description, self.decoded.record.offset, order_id)


def check_stored(expected: ExpectedOrder, versions: ContractVersions, report: Report) -> None:
    """Check the row of a record, and count the record as stored or duplicate."""
    result, row, is_replayed = expected.decoded.result, expected.existing_row, expected.replayed_entry is not None
    if not isinstance(result, Order):
        outcome = "was replayed" if is_replayed else "is not in the quarantine"
        description = f"breaks the contract ({result.reason}: {result.message}), but {outcome}"
        report.add("missing", expected.finding(description))
    elif row is None:
        description = "was replayed, but is not stored" if is_replayed else _NOT_STORED
        report.add("missing", expected.finding(description, result.order_id))
    elif _is_own_row(expected, result.order_id, row):
        _check_own_row(expected, result, row, versions, report)
    else:
        row = versions.without_later_columns(row, expected.decoded.contract_id)
        _check_duplicate(expected, result, row, versions, report)


def _check_own_row(
    expected: ExpectedOrder, order: Order, row: ExistingRow, versions: ContractVersions, report: Report
) -> None:
    """Check the row that the record became."""
    partition, record, replayed_entry = expected.partition, expected.decoded.record, expected.replayed_entry
    partition.add_row(record.offset, order.order_id, row.stored_at)
    if not replayed_entry:
        partition.update_last_record(record.offset, row.stored_at)
    if row.order != order.row():
        report.add("different", _difference(expected, order, row, versions))
    elif time_error := check_times(record, row, replayed_entry):
        report.add("different", expected.finding(time_error, order.order_id))
    else:
        report.stored += 1


def _check_duplicate(
    expected: ExpectedOrder, order: Order, row: ExistingRow, versions: ContractVersions, report: Report
) -> None:
    """Check the row of another record with the same order_id."""
    if not expected.replayed_entry:
        expected.partition.update_last_record(expected.decoded.record.offset, None)
    if row.order != order.row():
        suffix = " from another record, so this record should be in the quarantine"
        report.add("different", _difference(expected, order, row, versions, suffix))
    elif _has_later_coordinates(expected, row):
        description = f"is stored with the coordinates of a later record (offset {row.offset})"
        report.add("different", expected.finding(description, order.order_id))
    else:
        report.duplicates += 1
        expected.partition.counts["duplicates"] += 1


def _difference(
    expected: ExpectedOrder, order: Order, row: ExistingRow, versions: ContractVersions, suffix: str = ""
) -> Finding:
    fields = differences(versions.newest, order, row.order)
    finding = expected.finding(f"is stored with another {', '.join(fields)}{suffix}", order.order_id)
    return msgspec.structs.replace(finding, fields=fields)


def _is_own_row(expected: ExpectedOrder, order_id: str, row: ExistingRow) -> bool:
    """Whether the record became this row."""
    record, peers = expected.decoded.record, expected.partition.peers
    if (row.offset, row.partition) != (record.offset, record.partition):
        return False
    # A record of another topic may have the same coordinates; usually the times differ.
    return not peers or not (
        check_times(record, row, expected.replayed_entry)
        or any(peer.has_row(record.offset, order_id) for peer in peers)
    )


def _has_later_coordinates(expected: ExpectedOrder, row: ExistingRow) -> bool:
    """Whether the row has the coordinates of a later record, although this record was the first of its order_id.

    The result is False if this cannot be decided:

    - The record was replayed.
    - Records have left the topic, so an earlier row may have been archived.
    - Another topic has a partition of this number, so the row may belong to that topic.
    """
    record, partition = expected.decoded.record, expected.partition
    if row.partition != record.partition or row.offset is None or row.offset <= record.offset:
        return False
    return not (expected.replayed_entry or partition.removed_count or partition.peers)


def check_times(record: Record, row: ExistingRow, replayed_entry: AuditedQuarantineEntry | None) -> str | None:
    """Return the error in the times of the row that the record became, or None."""
    if not is_timestamp(row.produced_at, record.timestamp):
        return f"is stored with produced_at {row.produced_at}, which is not the record's timestamp"
    if row.stored_at is None:
        return "is stored without stored_at"
    if replayed_entry and row.stored_at != replayed_entry.resolved_at:
        return f"is stored with stored_at {row.stored_at}, but was replayed at {replayed_entry.resolved_at}"
    return None


def differences(contract: Contract, order: Order, existing_row: Sequence[object]) -> dict[str, DifferingValues]:
    """Return the fields in which an order and its row differ, each with both values."""
    return {
        name: DifferingValues(record=str(in_record), table=str(in_table))
        for name, in_record, in_table in zip(contract.column_names, order.row(), existing_row, strict=True)
        if in_record != in_table
    }
