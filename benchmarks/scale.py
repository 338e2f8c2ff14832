"""Measures the sink with different numbers of partitions and Spark workers, on one machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice

import msgspec
from rich.progress import Progress

from benchmarks import backlog
from benchmarks.arena import Arena
from benchmarks.bench_report import Bars, Report, Table
from benchmarks.contest import Measured, drain, measure
from benchmarks.sink_rate import Sink
from orderflow.settings import Settings

PARTITIONS = 1, 3, 6, 12
# Engine and number of workers of a Spark cluster; 0 means no cluster.
_VARIANTS = (("direct", 0), ("spark", 0), ("spark", 1), ("spark", 2))


def bench(arena: Arena, progress: Progress, *, partitions: Sequence[int], rows: int) -> Report:
    """Drain a backlog of `rows` orders from a topic with each number of partitions, with each variant."""
    names = [f"{engine}, {count} workers" if count else engine for engine, count in _VARIANTS]
    found: list[list[Measured]] = []
    for number in partitions:
        with arena.topic(number) as topic:
            settings = msgspec.structs.replace(arena.settings, kafka_topic=topic)
            backlog.send(settings, islice(backlog.messages(), rows), rows, progress)
            found.append([_drained(arena, topic, rows, progress, variant) for variant in _VARIANTS])
    return Report(
        data={
            "rows": rows,
            "runs": [
                {"partitions": number, "way": name, **msgspec.to_builtins(run)}
                for number, runs in zip(partitions, found, strict=True)
                for name, run in zip(names, runs, strict=True)
            ],
        },
        tables=[
            Table(
                f"{rows:,} rows: rows/s, steady",
                ("partitions", *names),
                [
                    [str(number), *(f"{run.steady:,.0f}" for run in runs)]
                    for number, runs in zip(partitions, found, strict=True)
                ],
            )
        ],
        bars=Bars(
            f"{rows:,} rows, {partitions[-1]} partitions",
            "rows/s",
            [(name, run.steady) for name, run in zip(names, found[-1], strict=True)],
        ),
        exact=all(run.exact for runs in found for run in runs),
    )


def _drained(arena: Arena, topic: str, rows: int, progress: Progress, variant: tuple[str, int]) -> Measured:
    engine, workers = variant
    with arena.spark(workers) if workers else nullcontext() as master:

        def run(settings: Settings) -> Measured:
            return drain(Sink(engine, master=master), arena, settings, rows, progress)

        return measure(arena, topic, rows, progress, run)
