"""`orderflow status`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow.cli import context, logs
from orderflow.cli.text import number, safe, to_json
from orderflow.errors import Unavailable
from orderflow.plurals import counted

if TYPE_CHECKING:
    from orderflow.insights.status import Status
    from orderflow.settings import Settings


def status(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; with --watch, one line for each update.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.5, max=86_400, help="Seconds between two updates of --watch.")] = 2.0,
) -> None:
    """Show the pipeline's state: records stored and quarantined, lag by partition, the newest order.

    It reads from the servers of the `orderflow up` that runs in ORDERFLOW_HOME, or else from those of the KAFKA_… and
    MYSQL_… settings. While a server is unavailable, --watch reports it and continues. `orderflow top` shows more
    live figures.

    Exit codes: 0 the state is shown, or Ctrl-C stopped --watch; 2 the database cannot be read.

    Examples:

    - `orderflow status`
    - `orderflow status --watch --every 10 --json`
    """
    settings = context.load()
    if not watch:
        state = _read(settings)
        print(to_json(state) if as_json else "\n".join(_lines(settings, state)))
        return
    try:
        _watch(settings, every, as_json)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _read(settings: Settings) -> Status:
    from orderflow.insights import status as insight
    from orderflow.store import viewer_queries

    with viewer_queries.open_reader(settings) as connection:
        return insight.read(connection, settings)


def _watch(settings: Settings, every: float, as_json: bool) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    is_live = console.is_terminal and not as_json
    with Live(console=console, auto_refresh=False) if is_live else nullcontext() as live:
        while True:
            try:
                state = _read(settings)
            except Unavailable as error:
                logs.show_error(error)
            else:
                if as_json:
                    print(to_json(state), flush=True)
                elif live:
                    live.update(Text("\n".join(_lines(settings, state))), refresh=True)
                else:
                    print(*_lines(settings, state), sep="\n", flush=True)
            time.sleep(every)


def _lines(settings: Settings, state: Status) -> Iterator[str]:
    yield f"Kafka     {settings.kafka_bootstrap_servers}, topic {state.topic}"
    yield f"Database  {settings.database_address}, table {settings.mysql_database}.{settings.mysql_table}"
    yield (
        f"{state.stored:,} stored, {counted(state.duplicates, 'duplicate')}, {state.quarantined:,} quarantined,"
        f" lag {number(state.lag)}; {counted(state.unknown_fields, 'unknown field')} seen"
    )
    if state.lag_unknown_because:
        yield f"The lag is unknown: {safe(state.lag_unknown_because)}"
    for partition_status in state.partitions:
        yield (
            f"  partition {partition_status.partition}: next offset {partition_status.next_offset:,},"
            f" end {number(partition_status.end)}, lag {number(partition_status.lag)}"
        )
    if state.open_by_reason:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in state.open_by_reason.items())
        yield f"Open in quarantine: {reasons}"
    if newest := state.describe_newest():
        yield f"Newest order {newest}"
