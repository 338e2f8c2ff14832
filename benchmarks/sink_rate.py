"""Measures `orderflow sink` with every guarantee on, and compares it with the limit."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from rich.progress import Progress

from benchmarks import backlog, limit, sampling, usage
from benchmarks.arena import Arena
from benchmarks.bench_report import Bars, Report, Table
from benchmarks.contest import Measured, cpu, drain, measure, median, memory, rates
from orderflow.embedded.process import Process
from orderflow.settings import Settings
from orderflow.store import ledger, schema
from orderflow.store.connection import Connection

NAMES = {
    "spark": "Spark micro-batches",
    "spark-realtime": "Spark real-time",
    "spark-auto": "Spark auto",
    "direct": "direct",
}
_TRIGGERS = {"spark": "micro-batch", "spark-realtime": "realtime", "spark-auto": "auto"}


class Sink:
    """The sink as a contestant.

    `variant` is a key of NAMES. `master` is a Spark cluster's URL. `env` is added to the process' environment.
    """

    guarantees = "exactly once, proven by the audit; invalid messages are quarantined with their reason"

    def __init__(self, variant: str, env: Mapping[str, str] | None = None, master: str | None = None) -> None:
        self.name, self._env = NAMES[variant], env
        engine, trigger = variant.partition("-")[0], _TRIGGERS.get(variant)
        self._arguments = ["--engine", engine, *(["--trigger", trigger] if trigger else [])]
        self._arguments += ["--master", master] if master else []

    def process(self, arena: Arena, settings: Settings) -> Process:
        schema.prepare(settings)
        return arena.orderflow(self.name, settings, "sink", *self._arguments, env=self._env)

    def position(self, connection: Connection, settings: Settings) -> int:
        return sum(entry.next_offset for entry in ledger.read_entries(connection, settings.kafka_topic))


def bench(arena: Arena, progress: Progress, *, engine: str, rows: int, rounds: int, connections: int | None) -> Report:
    """Drain a backlog of `rows` orders, and load as many as the limit, in alternating runs."""

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
                "Time of the writers' threads in a sampled run, µs per row",
                ("step", "µs"),
                [[step, f"{spent:.2f}"] for step, spent in steps.items()],
            ),
            memory([at_most, sink]),
        ],
        bars=Bars(f"{rows:,} rows into MySQL", "rows/s", [(run.contestant, run.steady) for run in (at_most, sink)]),
        exact=at_most.exact and sink.exact,
    )


def _steps(arena: Arena, engine: str, topic: str, rows: int, progress: Progress) -> dict[str, float]:
    """Return microseconds per row of the writers' threads, by step. A separate run, because sampling takes time."""
    with TemporaryDirectory(dir=arena.folder) as folder, arena.database(topic) as settings:
        watched = Path(folder) / "steps"
        drain(Sink(engine, sampling.install(watched)), arena, settings, rows, progress)
        return {step: round(seconds * 1e6 / rows, 2) for step, seconds in sampling.read(watched).items()}
