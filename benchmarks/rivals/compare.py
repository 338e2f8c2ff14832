"""Compares OrderFlow's engines with the alternatives, each configured for its best speed, in alternating runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from rich.progress import Progress

from benchmarks import backlog, limit, sink_latency, usage
from benchmarks.arena import Arena
from benchmarks.bench_report import Bars, Report, Table
from benchmarks.contest import Contestant, Measured, drain, measure, median, rates
from benchmarks.rivals import outcome
from benchmarks.rivals.debezium import Debezium
from benchmarks.rivals.flink import Flink
from benchmarks.rivals.handwritten import LoadData, Upsert
from benchmarks.rivals.original import Original, OriginalRewritten
from benchmarks.rivals.rival import Rival
from benchmarks.sink_latency import Latency
from benchmarks.sink_rate import NAMES, Sink
from orderflow.errors import InputInvalid, StartFailed
from orderflow.settings import Settings

CONTESTANTS: dict[str, Callable[[int], Contestant]] = {
    **{variant: partial(lambda variant, _: Sink(variant), variant) for variant in NAMES},
    "upsert": Upsert,
    "load-data": LoadData,
    "original": Original,
    "original-rewritten": OriginalRewritten,
    "debezium": Debezium,
    "flink": Flink,
}
_RATE = 1_000  # orders per second at which latency is compared
_SERVERS = "Database", "Kafka"
_TIMES = "p50", "p95", "p99", "max"


class _Result(msgspec.Struct):
    """The results of a contestant. `failures` has the messages of runs that failed; they are reported too."""

    name: str
    guarantees: str
    rival: bool
    runs: list[Measured] = []
    stream: Latency | None = None
    stream_table: str = ""
    stream_exact: bool = True
    bad_messages: dict[str, str] = {}
    failures: list[str] = []

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Record a rival's failure as a result. A failure of an OrderFlow engine is an error."""
        try:
            yield
        except StartFailed as error:
            if not self.rival:
                raise
            self.failures.append(error.message)


def bench(arena: Arena, progress: Progress, *, rows: int, rounds: int, seconds: float, only: Sequence[str]) -> Report:
    """Run each contestant with a backlog of `rows` orders, with a steady stream, and with invalid messages.

    Raises InputInvalid if `only` names an unknown contestant.
    """
    if unknown := sorted(set(only) - CONTESTANTS.keys()):
        raise InputInvalid(
            f"There is no contestant {unknown[0]}.", hint=f"The contestants are {', '.join(CONTESTANTS)}."
        )
    makers = [make for name, make in CONTESTANTS.items() if not only or name in only]
    contestants = [make(rows) for make in makers]
    all_found = [
        _Result(contestant.name, contestant.guarantees, isinstance(contestant, Rival)) for contestant in contestants
    ]
    limits = _drain(arena, progress, list(zip(contestants, all_found, strict=True)), rows, rounds)
    for make, found in zip(makers, all_found, strict=True):
        with found.trying():
            [found.stream], verdict = sink_latency.measure(make(rows), arena, progress, [_RATE], seconds)
            found.stream_table, found.stream_exact = str(verdict), verdict.exact
        for kind, spoil in outcome.DEFECTS.items():
            found.bad_messages[kind] = outcome.observe(make, arena, progress, spoil)
    medians = [median(limits), *(median(found.runs) for found in all_found if found.runs)]
    return Report(
        data={
            "rows": rows,
            "limit": msgspec.to_builtins(limits),
            "contestants": msgspec.to_builtins(all_found),
        },
        tables=[
            rates(medians, f"{rows:,} rows, median of {rounds}"),
            _costs(medians),
            _streams(all_found, seconds),
            Table(
                "Guarantees, and the handling of invalid messages",
                ("contestant", *outcome.DEFECTS, "guarantees"),
                [[found.name, *found.bad_messages.values(), found.guarantees] for found in all_found],
            ),
            *(
                # The data also has the following lines of its log.
                Table("Failed runs", ("contestant", "reason"), [[found.name, text.splitlines()[0]]])
                for found in all_found
                for text in found.failures
            ),
        ],
        bars=Bars(
            f"{rows:,} rows into MySQL, median of {rounds}",
            "rows/s",
            [(run.contestant, run.steady) for run in medians],
            notes={
                "limit": "LOAD DATA of prepared files",
                **{found.name: found.guarantees.partition(";")[0] for found in all_found},
            },
            highlighted=[found.name for found in all_found if not found.rival],
        ),
        # A rival's wrong table is a result.
        exact=all(run.exact for run in limits)
        and all(found.stream_exact and all(run.exact for run in found.runs) for found in all_found if not found.rival),
    )


def _drain(
    arena: Arena, progress: Progress, contestants: Sequence[tuple[Contestant, _Result]], rows: int, rounds: int
) -> list[Measured]:
    """Return the limit's runs, one per round. Add the contestants' runs to their results."""
    limits: list[Measured] = []
    connections: Sequence[int] = limit.CONNECTIONS
    with arena.topic() as topic, TemporaryDirectory(dir=arena.folder) as folder:
        settings = msgspec.structs.replace(arena.settings, kafka_topic=topic)
        backlog.send(settings, islice(backlog.messages(), rows), rows, progress)
        files = limit.make_files(islice(backlog.messages(), rows), Path(folder))
        for _ in range(rounds):
            limits.append(limit.best(arena, files, connections, progress))
            connections = [limits[0].connections]  # the first round has tried them all
            for contestant, found in contestants:
                drained = partial(_drained, contestant, arena, rows, progress)
                with found.trying():
                    found.runs.append(measure(arena, topic, rows, progress, drained))
    return limits


def _drained(contestant: Contestant, arena: Arena, rows: int, progress: Progress, settings: Settings) -> Measured:
    return drain(contestant, arena, settings, rows, progress)


def _costs(runs: Iterable[Measured]) -> Table:
    return Table(
        "Memory, and processor time per row",
        ("contestant", "MB", "µs", "database µs", "Kafka µs"),
        [
            [
                run.contestant,
                f"{_own(run.memory) / 1e6:,.0f}",
                f"{_own(run.cpu):.1f}",
                *(f"{run.cpu.get(server, 0):.1f}" for server in _SERVERS),
            ]
            for run in runs
        ],
    )


def _streams(all_found: Iterable[_Result], seconds: float) -> Table:
    return Table(
        f"{_RATE:,} orders/s for {seconds:g} s: ms from CreateTime to visible",
        ("contestant", *_TIMES, "MB", "table"),
        [
            [
                found.name,
                *(f"{getattr(found.stream, name):,.0f}" for name in _TIMES),
                f"{usage.of_sink(found.stream.memory) / 1e6:,.0f}",
                found.stream_table,
            ]
            for found in all_found
            if found.stream
        ],
    )


def _own(by_process: Mapping[str, float]) -> float:
    return sum(value for name, value in by_process.items() if name not in _SERVERS)
