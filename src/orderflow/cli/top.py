"""`orderflow top`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from orderflow.cli import context
from orderflow.cli.text import number, safe
from orderflow.plurals import counted

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from orderflow.insights.monitor import ServerState, Snapshot

_STYLES = {"ok": "green", "unknown": "dim", "waiting": "yellow", "unavailable": "bold red"}
_LEVELS = " ▁▂▃▄▅▆▇█"
_MIN_CUSTOMER_WIDTH = 72  # columns; a narrower terminal shows no customers


def top() -> None:
    """Show live rates, lag, latency and the latest orders in the terminal, until Ctrl-C.

    The figures are those of the dashboard, read over one connection. For programs: `orderflow status --watch --json`.

    It reads from the servers of the `orderflow up` that runs in ORDERFLOW_HOME, or else from those of the KAFKA_… and
    MYSQL_… settings.

    Exit codes: 0 stopped by Ctrl-C; 2 a setting is wrong.

    Example: `orderflow top`
    """
    from rich.console import Console
    from rich.live import Live

    from orderflow.embedded import state_file
    from orderflow.insights.monitor import POLL_INTERVAL, Monitor

    current = context.load()
    monitor = Monitor(current, lambda: state_file.last_log_line(current, "sink"))
    console = Console(highlight=False)
    try:
        with monitor.watching(), Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                live.update(_view(monitor.snapshot(), console), refresh=True)
                time.sleep(POLL_INTERVAL)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _view(found: Snapshot, console: Console) -> RenderableType:
    from rich.console import Group

    above = Group(_parts(found), "", _figures(found), "")
    rows = console.height - len(console.render_lines(above)) - 1
    return Group(above, _latest(found, max(0, rows), narrow=console.width < _MIN_CUSTOMER_WIDTH))


def _parts(found: Snapshot) -> Table:
    from rich.text import Text

    table = _table(wrap=True)
    for name, part in (("Kafka", found.kafka), ("Sink", found.sink), ("MySQL", found.database)):
        table.add_row(name, _sentence(part))
    if found.sink_log_line:
        table.add_row("", Text(safe(found.sink_log_line), style="dim"))
    if found.audit:
        style = _STYLES["ok" if found.audit.proven else "unavailable"]
        result = Text(f"{safe(found.audit.sentence)} {found.audit.audited_at:%Y-%m-%d %H:%M:%S} UTC", style=style)
        table.add_row("Last audit", result)
    return table


def _sentence(part: ServerState) -> RenderableType:
    from rich.text import Text

    return Text(safe(f"{part.sentence} {part.hint}".strip()), style=_STYLES[part.state])


def _figures(found: Snapshot) -> Table:
    table = _table()
    rate = "–" if found.stored_per_second is None else f"{found.stored_per_second:,.1f}"
    table.add_row("Stored per second", f"{rate:>12}  {_sparkline(found.rates[-40:])}")
    if found.today:
        table.add_row("Orders today", f"{found.today.orders:>12,}  revenue {found.today.revenue:,}")
    if found.latency:
        p50, p99 = (f"{seconds * 1000:,.0f} ms" for seconds in (found.latency.p50, found.latency.p99))
        sample = counted(found.latency.orders, "recent order")
        table.add_row("Event to table", f"{p50:>12}  p50, p99 {p99}, of {sample}")
    if status := found.status:
        lags = ", ".join(f"{part.partition}: {number(part.lag)}" for part in status.partitions)
        table.add_row("Lag", f"{number(status.lag):>12}  by partition {lags}")
        table.add_row("Stored", f"{status.stored:>12,}")
        table.add_row("Duplicates", f"{status.duplicates:>12,}")
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in (status.open_by_reason or {}).items())
        table.add_row("Quarantined", f"{status.quarantined:>12,}  {f'open: {reasons}' if reasons else ''}")
    return table


def _latest(found: Snapshot, rows: int, *, narrow: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), expand=True, header_style="dim")
    table.add_column("UTC", no_wrap=True)
    table.add_column("Order", no_wrap=True)
    if not narrow:
        table.add_column("Customer", justify="right", no_wrap=True)
    if found.has_products:
        table.add_column("Product", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("Total", justify="right", no_wrap=True)
    for order in found.latest[:rows]:
        today = order.order_timestamp.date() == found.at.date()
        placed = f"{order.order_timestamp:%H:%M:%S}" if today else f"{order.order_timestamp:%Y-%m-%d}"
        # A Text, not a str, in which rich reads brackets as styles.
        customer = () if narrow else (Text(safe(str(order.customer_id))),)
        name = (Text(safe(order.product_name)),) if found.has_products else ()
        table.add_row(placed, Text(order.order_id), *customer, *name, f"{order.total_price:,}")
    return table


def _table(*, wrap: bool = False) -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=18, style="dim", no_wrap=True)
    table.add_column(ratio=1, no_wrap=not wrap, overflow="fold" if wrap else "ellipsis")
    return table


def _sparkline(rates: tuple[float, ...]) -> str:
    most = max(rates, default=0) or 1
    return "".join(_LEVELS[round(rate / most * (len(_LEVELS) - 1))] for rate in rates)
