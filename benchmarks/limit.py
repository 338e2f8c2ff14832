"""Measures the database's limit: LOAD DATA LOCAL of prepared files into the plain eight-column table."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
from rich.progress import Progress

from benchmarks import backlog, bench_statements, usage
from benchmarks.arena import Arena
from benchmarks.bench_report import Bars, Report
from benchmarks.contest import Measured, cpu, measure, median, memory, rates
from orderflow.produce.outgoing_message import OutgoingMessage
from orderflow.settings import Settings
from orderflow.store.connection import Connection

CONNECTIONS = range(1, 7)  # the best of these numbers of connections is the limit


class Files(NamedTuple):
    """Prepared files for LOAD DATA. `rows` is the number of rows in all of them."""

    paths: Sequence[Path]
    rows: int


def make_files(orders: Iterable[OutgoingMessage], folder: Path) -> Files:
    """Write the files. They are on disk before the measurement starts."""
    paths: list[Path] = []
    rows = 0
    for number, chunk in enumerate(backlog.lines(orders)):
        rows += len(chunk)
        paths.append(folder / f"{number:06d}.tsv")
        with paths[-1].open("w", encoding="utf-8") as file:
            file.write("\n".join(chunk) + "\n")
            file.flush()
            os.fsync(file.fileno())
    return Files(paths, rows)


def load(settings: Settings, paths: Sequence[Path], connections: int, progress: Progress) -> float:
    """Load the files, each in a transaction, over the next free connection. Return the seconds."""
    waiting: SimpleQueue[Path] = SimpleQueue()
    for path in paths:
        waiting.put(path)
    task = progress.add_task(f"LOAD DATA, {connections} connections", total=len(paths))

    def load_files(connection: Connection) -> None:
        with suppress(Empty):
            while True:
                bench_statements.execute(connection, "load_plain", {"file": str(waiting.get_nowait())})
                connection.commit()
                progress.advance(task)

    with ExitStack() as stack:
        opened = [stack.enter_context(Connection(settings, infile_folder=paths[0].parent)) for _ in range(connections)]
        threads = stack.enter_context(ThreadPoolExecutor(connections))
        started_at = time.monotonic()
        for done in [threads.submit(load_files, connection) for connection in opened]:
            done.result()
        seconds = time.monotonic() - started_at
    progress.remove_task(task)
    return seconds


def best(arena: Arena, files: Files, connections: Sequence[int], progress: Progress) -> Measured:
    """Return the fastest of the runs with each of these numbers of connections."""

    def load_fresh_table(number: int, settings: Settings) -> Measured:
        make_table(settings)
        return run(arena, files, number, progress, settings)

    topic = arena.settings.kafka_topic  # not read
    runs = [measure(arena, topic, files.rows, progress, partial(load_fresh_table, number)) for number in connections]
    return max(runs, key=lambda found: found.steady)


def make_table(settings: Settings) -> None:
    """Create the plain eight-column table."""
    with Connection(settings) as connection:
        bench_statements.execute(connection, "create_plain")


def run(arena: Arena, files: Files, connections: int, progress: Progress, settings: Settings) -> Measured:
    """Load the files into an existing table. Return the measured run."""
    roots = arena.servers | {"loader": os.getpid()}
    with usage.PeakMemory(roots) as peak:
        before = usage.sample(roots)
        seconds = load(settings, files.paths, connections, progress)
        used = usage.cpu(usage.sample(roots), before)
    return Measured(
        contestant=f"limit, {connections} connection{'s' * (connections > 1)}",
        rows=files.rows,
        seconds=seconds,
        steady=files.rows / seconds,
        cpu={group: spent * 1e6 / files.rows for group, spent in used.items()},
        memory=dict(peak.bytes),
        connections=connections,
    )


def bench(arena: Arena, progress: Progress, *, rows: int, rounds: int) -> Report:
    """Measure each number of connections in alternating runs."""
    with TemporaryDirectory(dir=arena.folder) as folder:
        files = make_files(islice(backlog.messages(), rows), Path(folder))
        runs = [best(arena, files, [number], progress) for _ in range(rounds) for number in CONNECTIONS]
    medians = [median(runs[start :: len(CONNECTIONS)]) for start in range(len(CONNECTIONS))]
    found = max(medians, key=lambda run: run.steady)
    return Report(
        data={
            "rows": rows,
            "limit": round(found.steady),
            "connections": found.connections,
            "runs": msgspec.to_builtins(runs),
        },
        tables=[rates(medians, f"{rows:,} rows, median of {rounds}"), cpu([found]), memory([found])],
        bars=Bars(f"LOAD DATA of {rows:,} rows", "rows/s", [(run.contestant, run.steady) for run in medians]),
        exact=all(run.exact for run in runs),
    )
