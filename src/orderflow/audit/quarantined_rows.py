"""Checks of a record's row in the quarantine: its status, its columns, and its reason."""

from __future__ import annotations

from collections.abc import Iterator

from orderflow.audit.contract_versions import DecodedRecord
from orderflow.audit.partition import AuditedPartition, is_timestamp
from orderflow.audit.reasons import QuarantinedRecord, check_reason
from orderflow.audit.report import Report
from orderflow.store.existing_orders import ExistingRow
from orderflow.store.snapshot import AuditedQuarantineEntry
from orderflow.topic import Record


def check_quarantined(
    partition: AuditedPartition,
    decoded: DecodedRecord,
    entry: AuditedQuarantineEntry,
    existing_row: ExistingRow | None,
    report: Report,
) -> None:
    """Check a record's row in the quarantine. `existing_row` has the same order_id."""
    record = decoded.record
    is_replayed = entry.status == "replayed"
    partition.add_quarantined(record.offset, entry.quarantined_at, entry.resolved_at if is_replayed else None)
    partition.update_last_record(record.offset, entry.quarantined_at)
    if is_replayed:
        report.replayed += 1
    else:
        report.quarantined += 1
        report.discarded += entry.status == "discarded"
        report.by_reason[entry.reason] = report.by_reason.get(entry.reason, 0) + 1
    descriptions = list(_check_columns(partition.entry.topic, record, entry))
    if not descriptions:
        quarantined = QuarantinedRecord(
            record,
            entry,
            existing_row,
            rows_may_be_gone=report.removed_offsets > 0,
            coordinates_are_shared=bool(partition.peers),
        )
        description = check_reason(quarantined, decoded.result)
        descriptions += [description] if description else []
    for description in descriptions:
        report.add("quarantine", partition.finding(description, record.offset, entry.order_id))


def _check_columns(topic: str, record: Record, entry: AuditedQuarantineEntry) -> Iterator[str]:
    """Iterate over the errors in the record's row in the quarantine, except for its reason."""
    if not entry.is_status_consistent:
        status = entry.status
        yield f"is {status} in the quarantine, but its other columns contradict this status: it was changed by hand"
    changed = [name for name in ("key", "value") if getattr(entry, name) != getattr(record, name)]
    if entry.topic != topic:
        changed.append("topic")
    if not is_timestamp(entry.produced_at, record.timestamp):
        changed.append("produced_at")
    if changed:
        yield f"is in the quarantine with another {' and '.join(changed)}"
