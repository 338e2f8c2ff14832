"""The command `python -m benchmarks`."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow import cli, settings
from orderflow.cli import logs
from orderflow.cli.arguments import Command, Group

if TYPE_CHECKING:
    from rich.progress import Progress

    from benchmarks.arena import Arena
    from benchmarks.bench_report import Report

app = typer.Typer(
    name="python -m benchmarks",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure throughput and latency on temporary servers. docs/performance.md explains each figure.",
)


class Variant(StrEnum):
    """The engine to measure, with Spark also the trigger."""

    SPARK = "spark"
    SPARK_REALTIME = "spark-realtime"
    SPARK_AUTO = "spark-auto"
    DIRECT = "direct"


VariantChoice = Annotated[
    Variant,
    typer.Option("--engine", help="The engine: Spark with micro-batches, in Real-Time Mode or auto; or direct."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures and the machine as one JSON object.")]
Chart = Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw a chart of the figures.")]
Rounds = Annotated[int, typer.Option(min=1, help="Runs of each contestant; the median is the result.")]


@app.command(cls=Command)
def limit(
    *,
    rows: Annotated[int, typer.Option(min=1, help="Rows to load.")] = 5_000_000,
    rounds: Rounds = 3,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """The upper limit of MySQL: LOAD DATA LOCAL of prepared files over 1 to 6 connections.

    It loads into the plain eight-column table with its three indexes. The best number of connections is the limit.
    """
    from benchmarks import limit as benchmark

    _run(partial(benchmark.bench, rows=rows, rounds=rounds), as_json, chart)


@app.command(cls=Command)
def sink(
    *,
    engine: VariantChoice = Variant.SPARK,
    rows: Annotated[int, typer.Option(min=1, help="Orders in the backlog.")] = 5_000_000,
    rounds: Rounds = 3,
    connections: Annotated[
        int | None, typer.Option(min=1, help="Connections of the limit; by default, the first round tries 1 to 6.")
    ] = None,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """How fast the sink drains a backlog, as a share of the limit, and how long each step takes.

    Every guarantee is on. Runs of sink and limit alternate on the same server.

    Example: `python -m benchmarks sink --engine direct --rows 500000 --rounds 1 --connections 3`
    """
    from benchmarks import sink_rate as benchmark

    run = partial(benchmark.bench, engine=engine.value, rows=rows, rounds=rounds, connections=connections)
    _run(run, as_json, chart)


@app.command(cls=Command)
def contract(
    *,
    engine: VariantChoice = Variant.DIRECT,
    rows: Annotated[int, typer.Option(min=1, help="Orders in each backlog.")] = 1_000_000,
    rounds: Rounds = 3,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """What a contract file costs: the sink with four custom fields and with the default contract, and both paths alone.

    Runs of both contracts alternate on the same servers.

    Example: `python -m benchmarks contract --rows 300000 --rounds 2`
    """
    from benchmarks import contract_cost as benchmark

    _run(partial(benchmark.bench, engine=engine.value, rows=rows, rounds=rounds), as_json, chart)


@app.command(cls=Command)
def latency(
    *,
    engine: VariantChoice = Variant.SPARK,
    rate: Annotated[
        list[float] | None, typer.Option(min=1, help="Orders per second; may be repeated.", show_default="10 to 10,000")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, help="Seconds at each rate, after a warm-up of a quarter of that.")
    ] = 60,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """The time from Kafka's CreateTime until another session sees the row.

    Example: `python -m benchmarks latency --rate 1000 --seconds 20`
    """
    from benchmarks import sink_latency as benchmark

    _run(partial(benchmark.bench, engine=engine.value, rates=rate or benchmark.RATES, seconds=seconds), as_json, chart)


@app.command(cls=Command)
def producer(
    *,
    rows: Annotated[int, typer.Option(min=1, help="Orders to send.")] = 1_000_000,
    rounds: Rounds = 3,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """How many orders per second are generated, encoded, keyed and acknowledged, by compression.

    If kafka-python is installed, its rate with the same messages is shown for comparison.
    """
    from benchmarks import producer_rate as benchmark

    _run(partial(benchmark.bench, rows=rows, rounds=rounds), as_json, chart)


@app.command(cls=Command)
def growth(
    *,
    engine: VariantChoice = Variant.SPARK,
    size: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Rows in the table; may be repeated.", show_default="1, 10 and 50 million"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows to store at each size.")] = 1_000_000,
    soak: Annotated[
        float | None,
        typer.Option(min=0, metavar="MINUTES", help="Measure the memory of each process for this long instead."),
    ] = None,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """The rates of sink and limit as the table grows; or the memory over time.

    Example: `python -m benchmarks growth --soak 30`
    """
    from benchmarks import growth as benchmark

    if soak:
        _run(partial(benchmark.soak, engine=engine.value, minutes=soak), as_json, chart)
    else:
        _run(partial(benchmark.bench, engine=engine.value, sizes=size or benchmark.SIZES, rows=rows), as_json, chart)


@app.command(cls=Command)
def idle(
    *,
    engine: VariantChoice = Variant.SPARK,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds to measure each state.")] = 30,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """Processor time and memory without orders, and the time to the first row after a start or a SIGKILL."""
    from benchmarks import idle as benchmark

    _run(partial(benchmark.bench, engine=engine.value, seconds=seconds), as_json, chart)


@app.command(cls=Command)
def scale(
    *,
    partitions: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Partitions of the topic; may be repeated.", show_default="1, 3, 6 and 12"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Orders in the backlog.")] = 1_000_000,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """How the sink's rate depends on the number of partitions and of Spark workers, on one machine.

    Example: `python -m benchmarks scale --partitions 3 --partitions 12 --rows 300000`
    """
    from benchmarks import scale as benchmark

    _run(partial(benchmark.bench, partitions=partitions or benchmark.PARTITIONS, rows=rows), as_json, chart)


@app.command(cls=Command)
def rivals(
    *,
    rows: Annotated[int, typer.Option(min=1, help="Orders in the backlog.")] = 1_000_000,
    rounds: Rounds = 3,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Run only this contestant; may be repeated.", show_default="all"),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, help="Seconds of the latency measurement, at 1,000 orders per second.")
    ] = 60,
    as_json: AsJson = False,
    chart: Chart = None,
) -> None:
    """OrderFlow's two engines compared with the alternatives, each configured for its best speed.

    The alternatives are Spark's JDBC writer, Debezium's JDBC sink, Flink SQL and hand-written consumers. It also shows
    what each does with invalid messages. A rival's wrong table is a result: the exit code depends only on OrderFlow's
    own tables.

    Example: `python -m benchmarks rivals --only direct --only upsert --rows 300000 --rounds 1`
    """
    from benchmarks.rivals import compare as benchmark

    _run(partial(benchmark.bench, rows=rows, rounds=rounds, seconds=seconds, only=only or []), as_json, chart)


def _run(benchmark: Callable[[Arena, Progress], Report], as_json: bool, chart: Path | None) -> None:
    """Start the servers, run the benchmark and print the report. Exit with code 1 if a table is wrong."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from benchmarks import arena, bench_report
    from orderflow.embedded import signals

    signals.interrupt_on_signals()  # otherwise the servers would outlive this process
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = logs.console()
    with (
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress,
        arena.opened(settings.load()) as servers,
    ):
        found = benchmark(servers, progress)
    if chart:
        chart.write_text(bench_report.svg(found.bars), "utf-8")
    if as_json:
        print(json.dumps({"machine": servers.machine, **found.data}))
    else:
        _show(servers.machine, found)
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


if __name__ == "__main__":
    cli.run(app)
