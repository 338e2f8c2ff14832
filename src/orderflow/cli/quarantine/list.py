"""`orderflow quarantine list`."""

from __future__ import annotations

import shutil
import sys
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow.cli import context
from orderflow.cli.quarantine.options import JsonLines, OrderId, Partition, Reason, Since, Status, Until
from orderflow.cli.quarantine.record_json import to_json_line
from orderflow.cli.quarantine.selection import filter_of, report_no_match
from orderflow.cli.text import safe

if TYPE_CHECKING:
    from orderflow.store.quarantine import QuarantineEntry

_HEADER = f"{'id':>8} {'quarantined (UTC)':<19} {'partition':>9} {'offset':>10}  {'reason':<19} {'order':<16} detail"


def list_(
    *,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    order_id: OrderId = None,
    status: Status = "open",
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many, the oldest first.")] = None,
    as_json: JsonLines = False,
) -> None:
    """List the quarantined records: the open ones, unless --status selects others.

    Exit codes: 0 they are listed, or none matches; 2 the table cannot be read.

    Examples:

    - `orderflow quarantine list`
    - `orderflow quarantine list --reason conflict --since 2025-01-15`
    """
    from orderflow.store import quarantine
    from orderflow.store.connection import Connection

    wanted = filter_of(reason=reason, since=since, until=until, partition=partition, order_id=order_id, status=status)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    with Connection(context.load()) as connection:
        listed = 0
        for listed, entry in enumerate(islice(quarantine.read_matching(connection, wanted), limit), 1):
            if as_json:
                print(to_json_line(entry))
                continue
            if listed == 1:
                print(_HEADER)
            print(_as_line(entry, width))
        if not listed:
            report_no_match()


def _as_line(entry: QuarantineEntry, width: int | None) -> str:
    line = (
        f"{entry.quarantine_id:>8} {entry.quarantined_at:%Y-%m-%d %H:%M:%S} {entry.partition:>9} {entry.offset:>10}"
        f"  {entry.reason:<19} {entry.order_id or '-':<16} {entry.detail}"
    )
    return safe(line, width)
