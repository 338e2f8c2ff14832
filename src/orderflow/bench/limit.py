"""The limit: what the server takes at all. LOAD DATA LOCAL of ready-made files into the plain eight-column table."""

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

from orderflow.bench import backlog, usage
from orderflow.bench.arena import Arena
from orderflow.bench.contest import Measured, cpu, measure, median, memory, rates
from orderflow.bench.report import Bars, Report
from orderflow.produce.generator import Message
from orderflow.settings import Settings
from orderflow.store.connection import Connection

CONNECTIONS = range(1, 7)  # of which the best one counts


class Files(NamedTuple):
    """Ready-made for LOAD DATA. They hold so many rows together."""

    paths: Sequence[Path]
    rows: int


def make_files(orders: Iterable[Message], folder: Path) -> Files:
    """They are on disk before the clock runs."""
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
    """Load the files, each in a transaction, each over whichever connection is free; gives back the seconds."""
    waiting: SimpleQueue[Path] = SimpleQueue()
    for path in paths:
        waiting.put(path)
    task = progress.add_task(f"LOAD DATA, {connections} connections", total=len(paths))

    def carry(connection: Connection) -> None:
        with suppress(Empty):
            while True:
                connection.run("bench_load_plain", (str(waiting.get_nowait()),))
                connection.commit()
                progress.advance(task)

    with ExitStack() as stack:
        opened = [stack.enter_context(Connection(settings, infile_folder=paths[0].parent)) for _ in range(connections)]
        threads = stack.enter_context(ThreadPoolExecutor(connections))
        started = time.monotonic()
        for done in [threads.submit(carry, connection) for connection in opened]:
            done.result()
        seconds = time.monotonic() - started
    progress.remove_task(task)
    return seconds


def best(arena: Arena, files: Files, connections: Sequence[int], progress: Progress) -> Measured:
    """The fastest of a run with each of these numbers of connections."""

    def into_fresh(number: int, settings: Settings) -> Measured:
        make_table(settings)
        return run(arena, files, number, progress, settings)

    topic = arena.settings.kafka_topic  # which is not read
    runs = [measure(arena, topic, files.rows, progress, partial(into_fresh, number)) for number in connections]
    return max(runs, key=lambda found: found.steady)


def make_table(settings: Settings) -> None:
    """The plain eight-column table."""
    with Connection(settings) as connection:
        connection.run("bench_create_plain")


def run(arena: Arena, files: Files, connections: int, progress: Progress, settings: Settings) -> Measured:
    """Load the files into a table that is there."""
    roots = arena.servers | {"loader": os.getpid()}
    with usage.PeakMemory(roots) as peak:
        before = usage.look(roots)
        seconds = load(settings, files.paths, connections, progress)
        used = usage.cpu(usage.look(roots), before)
    return Measured(
        contestant=f"limit, {connections} connection{'s' * (connections > 1)}",
        rows=files.rows,
        seconds=seconds,
        steady=files.rows / seconds,
        cpu={group: one * 1e6 / files.rows for group, one in used.items()},
        memory=dict(peak.bytes),
        connections=connections,
    )


def bench(arena: Arena, progress: Progress, *, rows: int, rounds: int) -> Report:
    """Each number of connections, in turns."""
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
