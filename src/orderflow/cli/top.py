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

    from orderflow.insights.monitor import POLL_INTERVAL, Monitor
    from orderflow.running_servers import state_file

    settings = context.load()
    monitor = Monitor(settings, lambda: state_file.last_log_line(settings, "sink"))
    console = Console(highlight=False)
    try:
        with monitor.watching(), Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                live.update(_view(monitor.snapshot(), console), refresh=True)
                time.sleep(POLL_INTERVAL)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _view(snapshot: Snapshot, console: Console) -> RenderableType:
    from rich.console import Group

    above = Group(_server_states(snapshot), "", _figures(snapshot), "")
    rows = console.height - len(console.render_lines(above)) - 1
    return Group(above, _latest(snapshot, max(0, rows), narrow=console.width < _MIN_CUSTOMER_WIDTH))


def _server_states(snapshot: Snapshot) -> Table:
    from rich.text import Text

    table = _table(wrap=True)
    for name, server in (("Kafka", snapshot.kafka), ("Sink", snapshot.sink), ("MySQL", snapshot.database)):
        table.add_row(name, _sentence(server))
    if snapshot.sink_log_line:
        table.add_row("", Text(safe(snapshot.sink_log_line), style="dim"))
    if snapshot.audit:
        style = _STYLES["ok" if snapshot.audit.is_proven else "unavailable"]
        result = Text(f"{safe(snapshot.audit.sentence)} {snapshot.audit.audited_at:%Y-%m-%d %H:%M:%S} UTC", style=style)
        table.add_row("Last audit", result)
    return table


def _sentence(server: ServerState) -> RenderableType:
    from rich.text import Text

    return Text(safe(f"{server.sentence} {server.hint}".strip()), style=_STYLES[server.state])


def _figures(snapshot: Snapshot) -> Table:
    table = _table()
    rate = "–" if snapshot.stored_per_second is None else f"{snapshot.stored_per_second:,.1f}"
    table.add_row("Stored per second", f"{rate:>12}  {_sparkline(snapshot.rates[-40:])}")
    if snapshot.today:
        table.add_row("Orders today", f"{snapshot.today.orders:>12,}  revenue {snapshot.today.revenue:,}")
    if snapshot.latency:
        p50, p99 = (f"{seconds * 1000:,.0f} ms" for seconds in (snapshot.latency.p50, snapshot.latency.p99))
        sample = counted(snapshot.latency.orders, "recent order")
        table.add_row("Event to table", f"{p50:>12}  p50, p99 {p99}, of {sample}")
    if status := snapshot.status:
        lags = ", ".join(
            f"{partition_status.partition}: {number(partition_status.lag)}" for partition_status in status.partitions
        )
        table.add_row("Lag", f"{number(status.lag):>12}  by partition {lags}")
        table.add_row("Stored", f"{status.stored:>12,}")
        table.add_row("Duplicates", f"{status.duplicates:>12,}")
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in (status.open_by_reason or {}).items())
        table.add_row("Quarantined", f"{status.quarantined:>12,}  {f'open: {reasons}' if reasons else ''}")
    return table


def _latest(snapshot: Snapshot, rows: int, *, narrow: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), expand=True, header_style="dim")
    table.add_column("UTC", no_wrap=True)
    table.add_column("Order", no_wrap=True)
    if not narrow:
        table.add_column("Customer", justify="right", no_wrap=True)
    if snapshot.has_products:
        table.add_column("Product", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("Total", justify="right", no_wrap=True)
    for order in snapshot.latest[:rows]:
        today = order.order_timestamp.date() == snapshot.at.date()
        placed = f"{order.order_timestamp:%H:%M:%S}" if today else f"{order.order_timestamp:%Y-%m-%d}"
        # A Text, not a str, in which rich reads brackets as styles.
        customer = () if narrow else (Text(safe(str(order.customer_id))),)
        name = (Text(safe(order.product_name)),) if snapshot.has_products else ()
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
