"""The records that a command works on: by their ids, or by a filter."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import typer

from orderflow.cli import logs
from orderflow.cli.quarantine.options import StatusName

if TYPE_CHECKING:
    from orderflow.store.connection import Connection
    from orderflow.store.quarantine import QuarantineEntry, QuarantineFilter


def filter_of(
    *,
    reason: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    partition: int | None = None,
    order_id: str | None = None,
    status: StatusName = "open",
) -> QuarantineFilter:
    """Return the filter of these options; without options, that of all open records."""
    from orderflow.contract import definition
    from orderflow.store.quarantine import QuarantineFilter

    if reason is not None and reason not in [*definition.Reason]:
        raise typer.BadParameter(f"unknown reason {reason}; the reasons are {', '.join(definition.Reason)}")
    return QuarantineFilter(None if status == "any" else status, reason, since, until, partition, order_id)


def select(
    connection: Connection, ids: list[int] | None, wanted: QuarantineFilter, everything: bool
) -> tuple[int, Iterator[QuarantineEntry]]:
    """Return the number of selected records, and the records."""
    from orderflow.store import quarantine

    if ids:
        if wanted != filter_of():
            raise typer.BadParameter("select records by ids or by a filter, not both")
        entries = quarantine.read_by_id(connection, ids)
        return len(entries), iter(entries)
    if wanted == filter_of() and not everything:
        raise typer.BadParameter("select records by ids, by a filter, or with --all")
    total = quarantine.count(connection, wanted)
    if not total:
        report_no_match()
    return total, quarantine.read_matching(connection, wanted)


def report_no_match() -> None:
    """Print on stderr that there is no such record."""
    logs.console().print("No quarantined record matches.")
