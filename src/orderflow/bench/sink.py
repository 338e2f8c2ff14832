"""The sink as users run it: `orderflow sink`, with every guarantee on, beside the limit."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from rich.progress import Progress

from orderflow.bench import backlog, limit, sampling, usage
from orderflow.bench.arena import Arena
from orderflow.bench.contest import Measured, cpu, drain, measure, median, memory, rates
from orderflow.bench.report import Bars, Report, Table
from orderflow.embedded.process import Process
from orderflow.settings import Settings
from orderflow.store import ledger, schema
from orderflow.store.connection import Connection


class Sink:
    """`engine` is spark or direct; `master` is that of a Spark cluster; `env` is added to its environment."""

    guarantees = "contract, ledger, duplicates told apart, quarantine, rollup, provenance"

    def __init__(self, engine: str, env: Mapping[str, str] | None = None, master: str | None = None) -> None:
        self.name, self._env = f"sink ({engine})", env
        self._arguments = ["--engine", engine, *(["--master", master] if master else [])]

    def process(self, arena: Arena, settings: Settings) -> Process:
        schema.prepare(settings)
        return arena.orderflow(self.name, settings, "sink", *self._arguments, env=self._env)

    def position(self, connection: Connection, settings: Settings) -> int:
        mine = [entry for entry in ledger.entries(connection) if entry.topic == settings.kafka_topic]
        return sum(entry.next_offset for entry in mine)


def bench(arena: Arena, progress: Progress, *, engine: str, rows: int, rounds: int, connections: int | None) -> Report:
    """Drain a backlog of so many rows, and load as many by the limit, in turns."""

    def drained(settings: Settings) -> Measured:
        return drain(Sink(engine), arena, settings, rows, progress)

    limits: list[Measured] = []
    sinks: list[Measured] = []
    with arena.topic() as topic, TemporaryDirectory(dir=arena.folder) as folder:
        settings = msgspec.structs.replace(arena.settings, kafka_topic=topic)
        backlog.send(settings, islice(backlog.messages(), rows), rows, progress)
        files = limit.make_files(islice(backlog.messages(), rows), Path(folder))
        for _ in range(rounds):
            found = limit.best(arena, files, [connections] if connections else limit.CONNECTIONS, progress)
            connections = connections or found.connections  # the first round has tried them all
            limits.append(found)
            sinks.append(measure(arena, topic, rows, progress, drained))
        steps = _steps(arena, engine, topic, rows, progress)
    at_most, sink = median(limits), median(sinks)
    share = round(sink.steady / at_most.steady, 3)
    return Report(
        data={
            "rows": rows,
            "engine": engine,
            "share_of_limit": share,
            "steady": round(sink.steady),
            "overall": round(sink.overall),
            "limit": round(at_most.steady),
            "memory_mb": round(usage.of_sink(sink.memory) / 1e6),
            "steps": steps,
            "runs": msgspec.to_builtins([*limits, *sinks]),
        },
        tables=[
            rates([at_most, sink], f"{rows:,} rows, median of {rounds}: {share:.2f} of the limit"),
            cpu([at_most, sink]),
            Table(
                "The writers' threads in a run that is watched, µs per row",
                ("step", "µs"),
                [[step, f"{spent:.2f}"] for step, spent in steps.items()],
            ),
            memory([at_most, sink]),
        ],
        bars=Bars(f"{rows:,} rows into MySQL", "rows/s", [(run.contestant, run.steady) for run in (at_most, sink)]),
        exact=at_most.exact and sink.exact,
    )


def _steps(arena: Arena, engine: str, topic: str, rows: int, progress: Progress) -> dict[str, float]:
    """Microseconds of the writers' threads per row, by step. A run of its own, for watching takes time itself."""
    with TemporaryDirectory(dir=arena.folder) as folder, arena.database(topic) as settings:
        watched = Path(folder) / "steps"
        drain(Sink(engine, sampling.install(watched)), arena, settings, rows, progress)
        return {step: round(seconds * 1e6 / rows, 2) for step, seconds in sampling.read(watched).items()}
