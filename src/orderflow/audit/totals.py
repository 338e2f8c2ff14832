"""Compares the ledger's counters and sums with what was found in topic and tables."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.audit.extra_rows import Unprovable
from orderflow.audit.partition import Partition
from orderflow.audit.report import Finding, Report
from orderflow.audit.scope import Scope


def compare_counters(scope: Scope, unprovable: Unprovable, report: Report) -> None:
    """Compare each partition's counters and times with the ledger's."""
    for number, parts in scope.by_number.items():
        topics = ", ".join(part.entry.topic for part in parts)
        counts_agree = True
        for counter in ("stored", "duplicates", "quarantined"):
            expected = sum(getattr(part.entry, counter) for part in parts)
            actual = sum(part.counts[counter] for part in parts) + unprovable.rows[counter, number]
            # Duplicates leave no row, so those that left the topic cannot be counted.
            if counter == "duplicates" and any(part.unreadable_count for part in parts):
                expected = min(expected, actual)
            elif counter != "duplicates":
                counts_agree = counts_agree and expected == actual
            if expected != actual:
                kind = counter.removesuffix("s")  # "duplicate records"
                description = f"the ledger's number of {kind} records is {expected:,}, but the audit's is {actual:,}"
                report.add("counters", Finding(description=description, topic=topics, partition=number))
        if not _are_covered(parts):
            report.partitions_unchecked += len(parts)
        elif counts_agree and _sum_of_times(parts) != unprovable.times[number]:
            description = "the sum of stored_at and quarantined_at differs from the ledger's, so a row was changed"
            report.add("counters", Finding(description=description, topic=topics, partition=number))
        _compare_update(parts, report)


def _are_covered(parts: Sequence[Partition]) -> bool:
    """Whether the ledger's sums cover all rows of these partitions."""
    return all(
        part.checks.lost is not None and part.checks.times_rows == part.entry.stored + part.entry.quarantined
        for part in parts
    )


def _sum_of_times(parts: Sequence[Partition]) -> int:
    """The ledger's sum of the times of all rows of orders and quarantine, minus those that were found."""
    return sum(part.checks.times_sum - part.times_sum for part in parts)


def _compare_update(parts: Sequence[Partition], report: Report) -> None:
    """Compare when the ledger's row was updated with when the last record's row was written."""
    if len(parts) == 1 and (expected_update := parts[0].expected_update) is not None:
        updated_at = parts[0].entry.updated_at
        description = f"the ledger was updated at {updated_at}, but its last record was written at {expected_update}"
        report.add("counters", parts[0].finding(description))
