"""`orderflow bench …`."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow import settings
from orderflow.cli import log
from orderflow.cli.sink import EngineChoice, EngineName

if TYPE_CHECKING:
    from rich.progress import Progress

    from orderflow.bench.arena import Arena
    from orderflow.bench.report import Report

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    help="Measure how fast it is, on servers of its own; docs/performance.md says what each figure means.",
)

AsJson = Annotated[bool, typer.Option("--json", help="The figures and the machine as one JSON object.")]
Chart = Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the figures.")]
Rounds = Annotated[int, typer.Option(min=1, help="Turns of each contestant; the median counts.")]


@app.command()
def limit(
    *,
    rows: Annotated[int, typer.Option(min=1, help="Rows to load.")] = 5_000_000,
    rounds: Rounds = 3,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """What MySQL can take at all: LOAD DATA LOCAL of ready-made files over 1 to 6 connections.

    Into the plain eight-column table with its three indexes; the best number of connections is the limit.
    """
    from orderflow.bench import limit as piece

    _run(partial(piece.bench, rows=rows, rounds=rounds), as_json, chart)


@app.command()
def sink(
    *,
    engine: EngineChoice = EngineName.SPARK,
    rows: Annotated[int, typer.Option(min=1, help="Orders in the backlog.")] = 5_000_000,
    rounds: Rounds = 3,
    connections: Annotated[
        int | None, typer.Option(min=1, help="Of the limit; without it the first round tries 1 to 6.")
    ] = None,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """How fast the sink drains a backlog, as a share of the limit, and where its time goes.

    Every guarantee is on. Sink and limit take turns on the same server.

    Example: `orderflow bench sink --engine direct --rows 500000 --rounds 1 --connections 3`
    """
    from orderflow.bench import sink as piece

    _run(partial(piece.bench, engine=engine.value, rows=rows, rounds=rounds, connections=connections), as_json, chart)


@app.command()
def latency(
    *,
    engine: EngineChoice = EngineName.SPARK,
    rate: Annotated[
        list[float] | None, typer.Option(min=1, help="Orders per second; may be repeated.", show_default="10 to 10,000")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="At each rate, after a warm-up of a quarter of that.")] = 60,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """How long from Kafka's CreateTime until another session sees the row.

    Example: `orderflow bench latency --rate 1000 --seconds 20`
    """
    from orderflow.bench import latency as piece

    _run(partial(piece.bench, engine=engine.value, rates=rate or piece.RATES, seconds=seconds), as_json, chart)


@app.command()
def producer(
    *,
    rows: Annotated[int, typer.Option(min=1, help="Orders to send.")] = 1_000_000,
    rounds: Rounds = 3,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """How many orders a second are generated, encoded, keyed and acknowledged, by compression.

    Beside it kafka-python's rate with the same messages, where it is installed.
    """
    from orderflow.bench import producer as piece

    _run(partial(piece.bench, rows=rows, rounds=rounds), as_json, chart)


@app.command()
def growth(
    *,
    engine: EngineChoice = EngineName.SPARK,
    size: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Rows in the table; may be repeated.", show_default="1, 10 and 50 million"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows to store at each size.")] = 1_000_000,
    soak: Annotated[
        float | None,
        typer.Option(min=0, metavar="MINUTES", help="Instead: run so long, and watch each process' memory."),
    ] = None,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """Sink and limit as the table grows; or memory as time passes.

    Example: `orderflow bench growth --soak 30`
    """
    from orderflow.bench import growth as piece

    if soak:
        _run(partial(piece.soak, engine=engine.value, minutes=soak), as_json, chart)
    else:
        _run(partial(piece.bench, engine=engine.value, sizes=size or piece.SIZES, rows=rows), as_json, chart)


@app.command()
def idle(
    *,
    engine: EngineChoice = EngineName.SPARK,
    seconds: Annotated[float, typer.Option(min=1, help="To watch each state.")] = 30,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """What it costs while nothing comes, and how soon it stores after a start or a SIGKILL."""
    from orderflow.bench import idle as piece

    _run(partial(piece.bench, engine=engine.value, seconds=seconds), as_json, chart)


@app.command()
def scale(
    *,
    partitions: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Of the topic; may be repeated.", show_default="1, 3, 6 and 12"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Orders in the backlog.")] = 1_000_000,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """How the sink's rate changes with partitions and with the workers of a Spark cluster, on this one machine.

    Example: `orderflow bench scale --partitions 3 --partitions 12 --rows 300000`
    """
    from orderflow.bench import scale as piece

    _run(partial(piece.bench, partitions=partitions or piece.PARTITIONS, rows=rows), as_json, chart)


@app.command()
def rivals(
    *,
    rows: Annotated[int, typer.Option(min=1, help="Orders in the backlog.")] = 1_000_000,
    rounds: Rounds = 3,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="This contestant; may be repeated.", show_default="all"),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Of 1,000 orders per second, for the latency.")] = 60,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """OrderFlow's two engines beside what people would use instead, each set up for its best speed.

    Spark's JDBC writer, Debezium's JDBC sink, Flink SQL, consumers written by hand; and what each does with messages
    that are no orders. A rival's wrong table is a finding: the exit code tells of OrderFlow's own tables alone.

    Example: `orderflow bench rivals --only direct --only upsert --rows 300000 --rounds 1`
    """
    from orderflow.bench.rivals import compare as piece

    _run(partial(piece.bench, rows=rows, rounds=rounds, seconds=seconds, only=only or []), as_json, chart)


def _run(piece: Callable[[Arena, Progress], Report], as_json: bool, chart: Path | None) -> None:
    """Start the servers, measure, show. Exit code 1 if a table did not hold what was sent."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from orderflow.bench import arena, report

    for number in (signal.SIGTERM, signal.SIGHUP):  # or the servers would outlive it
        signal.signal(number, signal.default_int_handler)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = log.console()
    with (
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress,
        arena.opened(settings.load()) as place,
    ):
        found = piece(place, progress)
    if chart:
        chart.write_text(report.svg(found.bars), "utf-8")
    if as_json:
        print(json.dumps({"machine": place.machine, **found.data}))
    else:
        _show(place.machine, found)
    if not found.exact:
        raise typer.Exit(1)


def _show(machine: dict[str, object], found: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for title, names, rows in found.tables:
        table = Table(title=title, title_justify="left")
        for number, name in enumerate(names):
            table.add_column(name, justify="right" if number else "left", no_wrap=not number)
        for row in rows:
            table.add_row(*row, style="red" if "WRONG" in row[-1] else None)
        console.print(table)
    console.print("; ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items()))
