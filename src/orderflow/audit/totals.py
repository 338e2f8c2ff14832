"""Compares the ledger's counters and sums with what was found in topic and tables."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.audit.extra_rows import UnprovableRows
from orderflow.audit.partition import AuditedPartition
from orderflow.audit.report import Finding, Report
from orderflow.audit.scope import Scope


def compare_counters(scope: Scope, unprovable: UnprovableRows, report: Report) -> None:
    """Compare each partition's counters and times with the ledger's."""
    for number, partitions in scope.by_number.items():
        topics = ", ".join(partition.entry.topic for partition in partitions)
        counts_agree = True
        for counter in ("stored", "duplicates", "quarantined"):
            expected = sum(getattr(partition.entry, counter) for partition in partitions)
            actual = sum(partition.counts[counter] for partition in partitions) + unprovable.rows[counter, number]
            # Duplicates leave no row, so those that left the topic cannot be counted.
            if counter == "duplicates" and any(partition.removed_count for partition in partitions):
                expected = min(expected, actual)
            elif counter != "duplicates":
                counts_agree = counts_agree and expected == actual
            if expected != actual:
                noun = counter.removesuffix("s")  # "duplicate records"
                description = f"the ledger's number of {noun} records is {expected:,}, but the audit's is {actual:,}"
                report.add("counters", Finding(description=description, topic=topics, partition=number))
        if not _are_covered(partitions):
            report.partitions_unchecked += len(partitions)
        elif counts_agree and _sum_of_times(partitions) != unprovable.times[number]:
            description = "the sum of stored_at and quarantined_at differs from the ledger's, so a row was changed"
            report.add("counters", Finding(description=description, topic=topics, partition=number))
        _compare_update(partitions, report)


def _are_covered(partitions: Sequence[AuditedPartition]) -> bool:
    """Whether the ledger's sums cover all rows of these partitions."""
    return all(
        partition.control_values.lost is not None
        and partition.control_values.times_rows == partition.entry.stored + partition.entry.quarantined
        for partition in partitions
    )


def _sum_of_times(partitions: Sequence[AuditedPartition]) -> int:
    """Return the ledger's sum of the times of all rows of orders and quarantine, minus those that were found."""
    return sum(partition.control_values.times_sum - partition.times_sum for partition in partitions)


def _compare_update(partitions: Sequence[AuditedPartition], report: Report) -> None:
    """Compare when the ledger's row was updated with when the last record's row was written."""
    if len(partitions) == 1 and (expected_update := partitions[0].expected_update) is not None:
        updated_at = partitions[0].entry.updated_at
        description = f"the ledger was updated at {updated_at}, but its last record was written at {expected_update}"
        report.add("counters", partitions[0].finding(description))
