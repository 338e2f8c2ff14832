"""Compares contestants that store the same orders in the same table. Their runs alternate, each in a fresh database.

To add a contestant, implement `Contestant`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec
from rich.progress import Progress

from benchmarks import backlog, usage
from benchmarks.arena import Arena
from benchmarks.bench_report import Table
from orderflow.embedded.process import Process
from orderflow.settings import Settings
from orderflow.store.connection import Connection

_POLL_INTERVAL = 0.05  # seconds between two queries of the position
STALLED = 90.0  # seconds without a new row after which a run has failed
_MIDDLE = 0.2, 0.8  # the steady rate is measured between these shares of all rows


class Measured(msgspec.Struct, kw_only=True):
    """One run. `seconds` is the time from the contestant's start until another session sees the last row."""

    contestant: str
    rows: int
    seconds: float
    steady: float  # rows per second in the middle of the run
    cpu: dict[str, float]  # microseconds of processor time per row in the middle of the run, by process
    memory: dict[str, int]  # maximum bytes, by process
    connections: int = 0  # of the limit
    table: str = ""  # the verdict of the row-by-row comparison
    exact: bool = False

    @property
    def overall(self) -> float:
        """Rows per second over the whole time, including the start."""
        return self.rows / self.seconds


class Contestant(Protocol):
    """Stores the topic's orders in the table of `settings`."""

    name: str
    guarantees: str

    def process(self, arena: Arena, settings: Settings) -> Process:
        """Create the tables. Return the process that fills them, not started yet."""

    def position(self, connection: Connection, settings: Settings) -> int:
        """Return how many rows other sessions see."""


def measure(arena: Arena, topic: str, rows: int, progress: Progress, run: Callable[[Settings], Measured]) -> Measured:
    """Run in a fresh database, and compare the table with the sent orders."""
    with arena.database(topic) as settings:
        measured = run(settings)
        verdict = backlog.check(settings, rows, progress)
    measured.table, measured.exact = str(verdict), verdict.exact
    return measured


def median(runs: Sequence[Measured]) -> Measured:
    """Return the run with the median steady rate (the lower of two). It is `exact` only if all runs are."""
    middle = sorted(runs, key=lambda run: run.steady)[(len(runs) - 1) // 2]
    wrong = next((run for run in runs if not run.exact), middle)
    return msgspec.structs.replace(middle, table=wrong.table, exact=wrong.exact)


def drain(contestant: Contestant, arena: Arena, settings: Settings, rows: int, progress: Progress) -> Measured:
    """Start the contestant on a topic with `rows` orders, and wait until another session sees as many rows.

    Raises StartFailed if it exits earlier, or stores nothing for 90 seconds.
    """
    process = contestant.process(arena, settings)
    with Connection(settings) as connection, running(process):
        started_at = moved = time.monotonic()
        task = progress.add_task(contestant.name, total=rows)
        roots = arena.servers | {"sink": process.identity[0]}
        marks = [(started_at, 0, usage.sample(roots))]
        low, high = (share * rows for share in _MIDDLE)
        before = 0
        with usage.PeakMemory(roots) as peak:
            while before < rows:
                time.sleep(_POLL_INTERVAL)
                found, now = contestant.position(connection, settings), time.monotonic()
                if found > before:
                    moved, before = now, found
                    progress.update(task, completed=found)
                    if found >= (low if len(marks) == 1 else high):
                        marks.append((now, found, usage.sample(roots)))
                if not process.alive:
                    raise process.failure(f"{process.name} exited with code {process.exit_code}.")
                if now - moved > STALLED:
                    raise process.failure(f"{process.name} stored nothing for {STALLED:g} s, after {before:,} rows.")
        progress.remove_task(task)
    # With too few rows for a middle part, the whole run counts.
    (since, stored_before, samples_before), (until, stored, samples) = (
        (marks[1], marks[2]) if len(marks) > 2 else (marks[0], marks[-1])
    )
    count = stored - stored_before
    return Measured(
        contestant=contestant.name,
        rows=rows,
        seconds=moved - started_at,
        steady=count / (until - since),
        cpu={group: seconds * 1e6 / count for group, seconds in usage.cpu(samples, samples_before).items()},
        memory=dict(peak.bytes),
    )


@contextmanager
def running(process: Process) -> Iterator[Process]:
    """Run the process during the block, then stop it; after 30 seconds, kill it."""
    process.start()
    try:
        yield process
    finally:
        process.stop(30)


def rates(runs: Sequence[Measured], title: str) -> Table:
    """Return a table of the rates, each as a share of the fastest, and of the verdicts."""
    top = max(run.steady for run in runs)
    return Table(
        title,
        ("contestant", "rows/s, steady", "of the fastest", "with the start", "seconds", "table"),
        [
            [
                run.contestant,
                f"{run.steady:,.0f}",
                f"{run.steady / top:.2f}",
                f"{run.overall:,.0f}",
                f"{run.seconds:.1f}",
                run.table,
            ]
            for run in runs
        ],
    )


def cpu(runs: Sequence[Measured]) -> Table:
    """Return a table of processor time by process."""
    return _by_process("Processor time, µs per row", runs, lambda run, name: f"{run.cpu.get(name, 0):.1f}")


def memory(runs: Sequence[Measured]) -> Table:
    """Return a table of memory by process."""
    table = _by_process("Maximum memory (PSS), MB", runs, lambda run, name: f"{run.memory.get(name, 0) / 1e6:,.0f}")
    total = ["sink, total", *(f"{usage.of_sink(run.memory) / 1e6:,.0f}" for run in runs)]
    return table._replace(rows=[*table.rows, total])


def _by_process(title: str, runs: Sequence[Measured], cell: Callable[[Measured, str], str]) -> Table:
    names = dict.fromkeys(name for run in runs for name in run.memory)
    return Table(
        title,
        ("process", *(run.contestant for run in runs)),
        [[name, *(cell(run, name) for run in runs)] for name in names],
    )
