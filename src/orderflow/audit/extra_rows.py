"""Searches the tables for rows that no record accounts for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from orderflow.audit.partition import AuditedPartition, microseconds
from orderflow.audit.report import Finding, Report
from orderflow.audit.scope import Scope
from orderflow.plurals import counted
from orderflow.store import snapshot
from orderflow.store.connection import Connection
from orderflow.store.snapshot import Adoption

_ADOPTED = -1  # the partition number of adopted rows, see store/sql/schema/adopt_orders.sql


class UnprovableRows:
    """Counts rows whose records can no longer be re-read."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, int]] = Counter()  # by (ledger counter, partition number)
        self.times: Counter[int] = Counter()  # by partition number: the sum of the rows' times, in microseconds

    def add(self, counter: str, number: int, written_at: datetime | None) -> None:
        """Count a row of this counter of the ledger."""
        self.rows[counter, number] += 1
        self.times[number] += microseconds(written_at)


def find_extra_orders(connection: Connection, scope: Scope, unprovable: UnprovableRows, report: Report) -> None:
    """Check that each row of the orders table is a record's or was adopted. Count those that cannot be proven."""
    rows, marked = snapshot.count_orders(connection)
    report.adopted = marked.orders
    _check_adoption(connection, marked, report)
    if rows == marked.orders + sum(partition.counts["stored"] for partition in scope.partitions):
        return
    for order_id, number, offset, stored_at in snapshot.read_every_order(connection):
        if number == _ADOPTED:
            continue
        if number is None or offset is None:
            report.add("extra", Finding(description="was added by hand: it has no coordinates", order_id=order_id))
            continue
        peers = scope.by_number.get(number, [])
        if any(peer.has_row(offset, order_id) for peer in peers):
            continue
        if any(peer.is_removed(offset) for peer in peers):
            unprovable.add("stored", number, stored_at)
            continue
        topics = ", ".join(peer.entry.topic for peer in peers) or None
        description = _explain_extra(offset, peers)
        report.add(
            "extra", Finding(description=description, topic=topics, partition=number, offset=offset, order_id=order_id)
        )


def _explain_extra(offset: int, peers: Iterable[AuditedPartition]) -> str:
    if any(peer.is_quarantined(offset) for peer in peers):
        return "is stored, although the record at its coordinates is in the quarantine"
    if any(peer.is_readable(offset) for peer in peers):
        return "is not the order of the record at its coordinates"
    return "has coordinates that the ledger does not account for"


def _check_adoption(connection: Connection, marked: Adoption, report: Report) -> None:
    """Check that the rows marked as adopted are those that were counted at the adoption."""
    adopted = snapshot.read_adoption(connection)
    if adopted is None:
        description = "the count of the adopted rows is missing or exists more than once"
        report.add("adoption", Finding(description=description))
    elif adopted.orders != marked.orders:
        description = (
            f"the adoption counted {counted(adopted.orders, 'row')}, but the number marked as adopted is"
            f" {marked.orders:,}"
        )
        report.add("adoption", Finding(description=description))
    elif adopted != marked:
        report.add("adoption", Finding(description="rows that were adopted have changed since: the checksum differs"))


def find_extra_quarantine_rows(
    connection: Connection, scope: Scope, rows_with_record: int, unprovable: UnprovableRows, report: Report
) -> None:
    """Check that each row of the quarantine is a record's. Count those that cannot be proven.

    `rows_with_record` is the number of rows at the offsets that were re-read.
    """
    expected, actual = snapshot.count_chunks(connection)
    if expected != actual:
        description = (
            f"the records of the quarantine have {counted(expected, 'chunk')}, but the number stored is {actual:,}"
        )
        report.add("quarantine", Finding(description=description))
    if snapshot.count_quarantine(connection) == rows_with_record:
        return
    partitions = {(partition.entry.topic_id, partition.entry.partition): partition for partition in scope.partitions}
    for row in snapshot.read_every_quarantined(connection):
        partition = partitions.get((row.topic_id, row.partition))
        if partition and partition.is_removed(row.offset):
            unprovable.add("quarantined", row.partition, row.quarantined_at)
        elif not partition or not partition.is_readable(row.offset):
            finding = Finding(
                description="is in the quarantine, but the ledger accounts for no such record",
                topic=row.topic,
                partition=row.partition,
                offset=row.offset,
                order_id=row.order_id,
            )
            report.add("quarantine", finding)
