"""`orderflow audit`."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow.cli import context, logs
from orderflow.cli.text import safe
from orderflow.errors import OrderFlowError
from orderflow.plurals import plural

if TYPE_CHECKING:
    from orderflow.audit import Finding, Report
    from orderflow.settings import Settings

log = logging.getLogger(__name__)


def audit(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
    log_format: logs.Format = None,
) -> None:
    """Prove that every record of the topic is stored, a duplicate of a stored one, or quarantined.

    Reads the topic again up to the ledger's position, and compares every column of every row. Then searches for rows
    that no record accounts for, and checks ledger, quarantine, adopted rows, losses, rollup, views, engines and keys.
    SECURITY.md lists what it detects. For each kind of difference, it lists the first hundred.

    Producer and sink can continue meanwhile. The audit changes nothing, except that it adds its result to the table of
    audits, which the dashboard and the metrics show.

    Exit codes: 0 proven; 1 a difference was found; 2 the audit cannot read the topic or the tables.

    Examples:

    - `orderflow audit`
    - `orderflow audit --json > audit.json`
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from orderflow.audit import run

    logs.setup()
    settings = context.load()
    console = logs.console()
    columns = TextColumn("Audit"), BarColumn(), MofNCompleteColumn(), TextColumn("records"), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)
        report = run(settings, lambda done, total: progress.update(task, completed=done, total=total))
    _store_result(settings, report)
    if as_json:
        print(json.dumps(report.summary()))
    else:
        _print(report)
    if not report.is_proven:
        raise typer.Exit(1)


def _store_result(settings: Settings, report: Report) -> None:
    from orderflow.store import audits
    from orderflow.store.connection import Connection

    try:
        with Connection(settings) as connection:
            audits.store(
                connection,
                is_proven=report.is_proven,
                records=report.records,
                findings=report.findings,
                sentence=report.sentence(),
            )
    except OrderFlowError as error:  # the result is valid without it
        log.warning("The result was not stored, so the dashboard and the metrics do not show it: %s", error.message)


def _print(report: Report) -> None:
    reasons = sorted(report.by_reason.items(), key=lambda item: -item[1])
    lines = [
        ("records", report.records, ""),
        ("stored", report.stored, ""),
        ("duplicates", report.duplicates, ""),
        ("quarantined", report.quarantined, ", ".join(f"{count:,} {reason}" for reason, count in reasons)),
        *((kind, count, "") for kind, count in report.counts.items() if count),
    ]
    if report.replayed:
        lines.append(("replayed", report.replayed, "of the stored and duplicates, from the quarantine"))
    if report.discarded:
        lines.append(("discarded", report.discarded, "of the quarantined"))
    notes = [
        ("lost", report.lost_offsets, "offset", "lost before being read; the loss was accepted"),
        ("not yet stored", report.not_yet_stored, "offset", "beyond the ledger's position"),
        ("adopted", report.adopted, "row", "adopted with the existing table"),
        ("before ledger", report.before_ledger, "offset", "before the ledger's first offsets"),
        ("unreadable", report.removed_offsets, "offset", "no longer in the topic"),
        ("unprovable", report.unprovable, "row", "whose record has left the topic"),
        (
            "unchecked",
            report.partitions_unchecked,
            "partition",
            "written by an earlier version: losses and times not checked",
        ),
    ]
    lines += [(name, count, f"{plural(count, noun)} {note}") for name, count, noun, note in notes if count]
    for name, count, note in lines:
        print(f"{name:<14} {count:>13,}  {safe(note)}".rstrip())
    for loss in report.losses:
        print(
            safe(
                f"lost: {loss.topic} partition {loss.partition} offsets {loss.first_offset} to {loss.end_offset - 1},"
                f" accepted by {loss.accepted_by} at {loss.accepted_at:%Y-%m-%d %H:%M:%S} UTC"
            )
        )
    for kind in report.counts:
        for finding in report.listed(kind):
            print(f"{kind}: {_as_line(finding)}")
        if unlisted := report.counts[kind] - len(report.listed(kind)):
            print(f"{kind}: and {unlisted:,} more")
    print(report.sentence())


def _as_line(finding: Finding) -> str:
    parts = [
        finding.topic,
        None if finding.partition is None else f"partition {finding.partition}",
        None if finding.offset is None else f"offset {finding.offset}",
        finding.order_id,
        finding.description,
    ]
    values = "; ".join(
        f"{name} is {values.record!r} in the record, {values.table!r} in the table"
        for name, values in finding.fields.items()
    )
    return safe(" ".join(part for part in parts if part) + (values and f" ({values})"))
