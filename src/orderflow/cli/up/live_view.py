"""The live view of `orderflow up`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from orderflow.cli import logs
from orderflow.cli.up.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

log = logging.getLogger(__name__)

_POLL_INTERVAL = 0.5  # seconds between two checks
_STATUS_LINE_INTERVAL = 10.0  # seconds between two status lines without a terminal


def show_until_stopped(session: Session) -> None:
    """Show what happens and restart what stops, until KeyboardInterrupt: a table, or a log line without a terminal."""
    from rich.live import Live

    console = logs.console()
    logged_at = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            session.stack.restart_stopped()
            session.poll()
            if console.is_terminal:
                live.update(_panel(session), refresh=True)
            elif time.monotonic() - logged_at > _STATUS_LINE_INTERVAL:
                logged_at = time.monotonic()
                log.info("%s Newest: %s.", session.summary(), session.newest())
            time.sleep(_POLL_INTERVAL)


def _panel(session: Session) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="OrderFlow: Ctrl-C stops", title_justify="left", box=None, padding=(0, 2, 0, 0), expand=True)
    table.add_column("part", min_width=14, no_wrap=True)
    table.add_column("where", min_width=30, no_wrap=True)
    table.add_column("what", ratio=1, no_wrap=True, overflow="ellipsis")
    for row in session.rows():
        table.add_row(*map(Text, row))  # not str, in which rich reads brackets as styles
    status = session.status
    numbers: dict[str, int | None] = {"sent": session.sent}
    if status:
        numbers |= {name: getattr(status, name) for name in ("stored", "duplicates", "quarantined", "lag")}
    table.add_row("", "", "")
    for name, value in numbers.items():
        table.add_row(name, "" if value is None else f"{value:,}", "")
    table.add_row("newest", Text(session.newest()), "")
    return table
