"""OrderFlow's engines beside what people would use instead, each set up for its best speed, in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from rich.progress import Progress

from orderflow.bench import backlog, latency, limit, usage
from orderflow.bench.arena import Arena
from orderflow.bench.contest import Contestant, Measured, drain, measure, median, rates
from orderflow.bench.latency import Latency
from orderflow.bench.report import Bars, Report, Table
from orderflow.bench.rivals import outcome
from orderflow.bench.rivals.debezium import Debezium
from orderflow.bench.rivals.flink import Flink
from orderflow.bench.rivals.handwritten import LoadData, Upsert
from orderflow.bench.rivals.original import Original, OriginalRewritten
from orderflow.bench.rivals.rival import Rival
from orderflow.bench.sink import Sink
from orderflow.errors import InputInvalid, StartFailed
from orderflow.settings import Settings

CONTESTANTS: dict[str, Callable[[int], Contestant]] = {
    "spark": lambda _: Sink("spark"),
    "direct": lambda _: Sink("direct"),
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


class _Found(msgspec.Struct):
    """What was seen of a contestant. `failures` say where it did not come to an end, which is told, too."""

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
        """A rival that does not come to an end is a finding, an engine of OrderFlow's an error."""
        try:
            yield
        except StartFailed as error:
            if not self.rival:
                raise
            self.failures.append(error.message)


def bench(arena: Arena, progress: Progress, *, rows: int, rounds: int, seconds: float, only: Sequence[str]) -> Report:
    """Each drains a backlog of so many rows, in turns; meets a steady stream; and messages that are no orders.

    Raises InputInvalid where `only` names a contestant that is not there.
    """
    if unknown := sorted(set(only) - CONTESTANTS.keys()):
        raise InputInvalid(f"There is no contestant {unknown[0]}.", hint=f"There are {', '.join(CONTESTANTS)}.")
    makers = [make for name, make in CONTESTANTS.items() if not only or name in only]
    contestants = [make(rows) for make in makers]
    all_found = [_Found(one.name, one.guarantees, isinstance(one, Rival)) for one in contestants]
    limits = _drain(arena, progress, list(zip(contestants, all_found, strict=True)), rows, rounds)
    for make, found in zip(makers, all_found, strict=True):
        with found.trying():
            [found.stream], verdict = latency.measure(make(rows), arena, progress, [_RATE], seconds)
            found.stream_table, found.stream_exact = str(verdict), verdict.exact
        for kind, spoil in outcome.KINDS.items():
            found.bad_messages[kind] = outcome.watch(make, arena, progress, spoil)
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
                "What they promise, and what they did with a message that is no order",
                ("contestant", *outcome.KINDS, "guarantees"),
                [[found.name, *found.bad_messages.values(), found.guarantees] for found in all_found],
            ),
            *(
                # The lines of its log that follow are in the data.
                Table("Did not come to its end", ("contestant", "because"), [[found.name, text.splitlines()[0]]])
                for found in all_found
                for text in found.failures
            ),
        ],
        bars=Bars(f"{rows:,} rows into MySQL", "rows/s", [(run.contestant, run.steady) for run in medians]),
        # A rival's wrong table is a finding.
        exact=all(run.exact for run in limits)
        and all(found.stream_exact and all(run.exact for run in found.runs) for found in all_found if not found.rival),
    )


def _drain(
    arena: Arena, progress: Progress, contestants: Sequence[tuple[Contestant, _Found]], rows: int, rounds: int
) -> list[Measured]:
    """The limit's runs, one in each round; those of the contestants are added to what was found of them."""
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
        ("contestant", "its MB", "its µs", "database µs", "Kafka µs"),
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


def _streams(all_found: Iterable[_Found], seconds: float) -> Table:
    return Table(
        f"{_RATE:,} orders/s for {seconds:g} s: ms from CreateTime to visible",
        ("contestant", *_TIMES, "its MB", "table"),
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
