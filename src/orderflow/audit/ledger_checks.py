"""Checks of the ledger's rows: topic ids, first and last offsets."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow import topic
from orderflow.audit.partition import AuditedPartition
from orderflow.audit.report import Report
from orderflow.audit.scope import Scope, first_offset, with_topic
from orderflow.errors import OffsetsLost
from orderflow.plurals import counted
from orderflow.settings import Settings
from orderflow.store.ledger import hash_record
from orderflow.topic import Record


def check_ledger(settings: Settings, scope: Scope, report: Report) -> None:
    """Check the ledger's rows, and search the topic for records before their first offsets."""
    ids: dict[str, str] = {scope.topic.name: scope.topic.topic_id}
    names = {scope.topic.topic_id: scope.topic.name}
    for partition in scope.partitions:
        entry = partition.entry
        name, number, topic_id, *_ = entry
        if ids.setdefault(name, topic_id) != topic_id or names.setdefault(topic_id, name) != name:
            description = f"topic {name} with id {topic_id} contradicts another row of the ledger"
            report.add("counters", partition.finding(description))
        if name == scope.topic.name and number not in scope.topic.partitions:
            report.add("counters", partition.finding("the ledger has a partition that the topic does not have"))
        if not 0 <= entry.first_offset <= entry.next_offset:
            description = f"the ledger's first_offset {entry.first_offset} is not between 0 and its next_offset"
            report.add("counters", partition.finding(description))
        first, end = partition.unaccounted
        if first < end and _holds_records(with_topic(settings, name), number, first, end):
            description = f"the topic holds records at offsets {first} to {end - 1}, before the ledger's first_offset"
            report.add("counters", partition.finding(description))
        if partition.control_values.times_rows > entry.stored + entry.quarantined:
            rows = counted(partition.control_values.times_rows, "row")
            description = f"the ledger's sum of times covers {rows}, more than it counts as stored and quarantined"
            report.add("counters", partition.finding(description))
        if (last := partition.control_values.last).offset >= entry.next_offset:
            description = f"the ledger's last_offset {last.offset} is not less than its next_offset"
            report.add("counters", partition.finding(description))


def _holds_records(settings: Settings, partition: int, first: int, end: int) -> bool:
    try:
        return topic.holds_records(settings, partition, first, end)
    except OffsetsLost:  # retention has removed some of them meanwhile
        return topic.holds_records(settings, partition, first_offset(settings, partition), end)


def check_last_record(
    partition: AuditedPartition, records: Sequence[Record], start: int, end: int, report: Report
) -> None:
    """Check that the last record of the ledger is the topic's, if its offset is in this range."""
    last = partition.control_values.last
    if not start <= last.offset < end:
        return
    last_record = {record.offset: record for record in records}.get(last.offset)
    if last_record is None or hash_record(last_record.timestamp, last_record.key) != last.hash:
        description = (
            f"the record at the ledger's last_offset {last.offset} is not the one that the ledger accounts for"
        )
        report.add("counters", partition.finding(description))
