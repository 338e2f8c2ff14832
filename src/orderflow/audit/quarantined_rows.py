"""Checks of a record's row in the quarantine: its status, its columns, and its reason."""

from __future__ import annotations

from collections.abc import Iterator

from orderflow.audit.contract_versions import ReadRecord
from orderflow.audit.partition import Partition, is_timestamp
from orderflow.audit.reasons import Case, check_reason
from orderflow.audit.report import Report
from orderflow.store.orders import ExistingRow
from orderflow.store.snapshot import AuditedQuarantineEntry
from orderflow.topic import Record


def check_quarantined(
    partition: Partition, read: ReadRecord, quarantined: AuditedQuarantineEntry, row: ExistingRow | None, report: Report
) -> None:
    """Check a record's row in the quarantine. `row` is the stored order of the same id."""
    record = read.record
    is_replayed = quarantined.status == "replayed"
    partition.add_quarantined(
        record.offset, quarantined.quarantined_at, quarantined.resolved_at if is_replayed else None
    )
    partition.update_last_record(record.offset, quarantined.quarantined_at)
    if is_replayed:
        report.replayed += 1
    else:
        report.quarantined += 1
        report.discarded += quarantined.status == "discarded"
        report.by_reason[quarantined.reason] = report.by_reason.get(quarantined.reason, 0) + 1
    descriptions = list(_check_columns(partition.entry.topic, record, quarantined))
    if not descriptions:
        case = Case(
            record,
            quarantined,
            row,
            rows_may_be_gone=report.unreadable_offsets > 0,
            coordinates_are_shared=bool(partition.peers),
        )
        description = check_reason(case, read.result)
        descriptions += [description] if description else []
    for description in descriptions:
        report.add("quarantine", partition.finding(description, record.offset, quarantined.order_id))


def _check_columns(topic: str, record: Record, quarantined: AuditedQuarantineEntry) -> Iterator[str]:
    """Iterate over the errors in the record's row in the quarantine, except for its reason."""
    if not quarantined.resolved_in_order:
        status = quarantined.status
        yield f"is {status} in the quarantine, but its other columns contradict this status: it was changed by hand"
    changed = [name for name in ("key", "value") if getattr(quarantined, name) != getattr(record, name)]
    if quarantined.topic != topic:
        changed.append("topic")
    if not is_timestamp(quarantined.produced_at, record.timestamp):
        changed.append("produced_at")
    if changed:
        yield f"is in the quarantine with another {' and '.join(changed)}"
