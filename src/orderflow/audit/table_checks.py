"""Checks of the tables' structure, and of the rows that are derived: rollup, views, the last audit's result."""

from __future__ import annotations

from orderflow.audit.report import LISTED, Finding, Report
from orderflow.errors import DatabaseRefused
from orderflow.settings import Settings
from orderflow.store import audits, snapshot
from orderflow.store.connection import Connection


def check_structure(settings: Settings, report: Report) -> None:
    """Check tables, columns, keys and engines."""
    for description in snapshot.find_structure_differences(settings):
        report.add("tables", Finding(description=description))


def compare_rollup(connection: Connection, report: Report) -> None:
    """Compare the rollup with the sums of the orders table."""
    count, listed = snapshot.find_rollup_differences(connection, LISTED)
    report.counts["rollup"] = count
    report.rollup = [
        Finding(
            description=f"the rollup of {row.minute} {row.category!a} minus the orders table is orders {row.orders:+,},"
            f" units {row.units:+,}, revenue {row.revenue:+,}",
            partition=row.partition,
        )
        for row in listed
    ]


def compare_views(connection: Connection, settings: Settings, report: Report) -> None:
    """Compare each view with OrderFlow's definition of it."""
    for view in snapshot.VIEWS:
        count, listed = snapshot.find_view_differences(connection, settings, view, LISTED)
        for description in listed:
            report.add("tables", Finding(description=description))
        report.counts["tables"] += count - len(listed)


def check_last_audit(connection: Connection, report: Report) -> None:
    """Check the stored result of the last audit, which the dashboard shows until this audit ends."""
    try:
        last = audits.last(connection)
    except DatabaseRefused:
        return  # the table is missing, which check_structure reports
    if last and not last.is_consistent:
        description = f"the audit of {last.audited_at:%Y-%m-%d %H:%M:%S} UTC is inconsistent: it was changed by hand"
        report.add("tables", Finding(description=description))
