"""What is compared: contestants that store the same orders in the same table, each in a fresh database, in turns.

A contestant to add is a class with what `Contestant` names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec
from rich.progress import Progress

from orderflow.bench import backlog, usage
from orderflow.bench.arena import Arena
from orderflow.bench.report import Table
from orderflow.embedded.process import Process
from orderflow.settings import Settings
from orderflow.store.connection import Connection

_POLL = 0.05  # seconds between two looks at how far it is
STALLED = 90.0  # seconds without a row until a run is given up
_MIDDLE = 0.2, 0.8  # the steady rate is taken between these shares of all rows


class Measured(msgspec.Struct, kw_only=True):
    """One run. `seconds` count from the contestant's start to its last row visible to another session."""

    contestant: str
    rows: int
    seconds: float
    steady: float  # rows per second in the middle of the run
    cpu: dict[str, float]  # microseconds of processor time per row in the middle of the run, by process
    memory: dict[str, int]  # the most bytes, by process
    connections: int = 0  # of the limit
    table: str = ""  # what the comparison of its table row by row said
    exact: bool = False

    @property
    def overall(self) -> float:
        """Rows per second over the whole time, start included."""
        return self.rows / self.seconds


class Contestant(Protocol):
    """Stores the topic's orders in the table of `settings`."""

    name: str
    guarantees: str

    def process(self, arena: Arena, settings: Settings) -> Process:
        """Make its tables; the process that will fill them, not started yet."""

    def position(self, connection: Connection, settings: Settings) -> int:
        """How many rows other sessions see."""


def measure(arena: Arena, topic: str, rows: int, progress: Progress, run: Callable[[Settings], Measured]) -> Measured:
    """A run in a fresh database, and the comparison of its table with what was sent."""
    with arena.database(topic) as settings:
        measured = run(settings)
        verdict = backlog.check(settings, rows, progress)
    measured.table, measured.exact = str(verdict), verdict.exact
    return measured


def median(runs: Sequence[Measured]) -> Measured:
    """The run of the median steady rate; the lower one of two. `exact` only if all are."""
    middle = sorted(runs, key=lambda run: run.steady)[(len(runs) - 1) // 2]
    wrong = next((run for run in runs if not run.exact), middle)
    return msgspec.structs.replace(middle, table=wrong.table, exact=wrong.exact)


def drain(contestant: Contestant, arena: Arena, settings: Settings, rows: int, progress: Progress) -> Measured:
    """Start it on a topic that holds so many orders, and watch until others see so many rows.

    Raises StartFailed if it ends before, or stores nothing for 90 seconds.
    """
    process = contestant.process(arena, settings)
    with Connection(settings) as connection, running(process):
        started = moved = time.monotonic()
        task = progress.add_task(contestant.name, total=rows)
        roots = arena.servers | {"sink": process.identity[0]}
        marks = [(started, 0, usage.look(roots))]
        low, high = (share * rows for share in _MIDDLE)
        before = 0
        with usage.PeakMemory(roots) as peak:
            while before < rows:
                time.sleep(_POLL)
                found, now = contestant.position(connection, settings), time.monotonic()
                if found > before:
                    moved, before = now, found
                    progress.update(task, completed=found)
                    if found >= (low if len(marks) == 1 else high):
                        marks.append((now, found, usage.look(roots)))
                if not process.alive:
                    raise process.failure(f"{process.name} ended with exit code {process.exit_code}.")
                if now - moved > STALLED:
                    raise process.failure(f"{process.name} stored nothing for {STALLED:g} s, {before:,} rows before.")
        progress.remove_task(task)
    # Too few rows for a middle: all that was stored since the start.
    (since, stored_before, looks_before), (until, stored, looks) = (
        (marks[1], marks[2]) if len(marks) > 2 else (marks[0], marks[-1])
    )
    count = stored - stored_before
    return Measured(
        contestant=contestant.name,
        rows=rows,
        seconds=moved - started,
        steady=count / (until - since),
        cpu={group: seconds * 1e6 / count for group, seconds in usage.cpu(looks, looks_before).items()},
        memory=dict(peak.bytes),
    )


@contextmanager
def running(process: Process) -> Iterator[Process]:
    """The process while the block lasts; it is asked to stop, for 30 seconds at most."""
    process.start()
    try:
        yield process
    finally:
        process.stop(30)


def rates(runs: Sequence[Measured], title: str) -> Table:
    """How fast, the share of the fastest, and whether the table was right."""
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
    """Processor time by process."""
    return _by_process("Processor time, µs per row", runs, lambda run, name: f"{run.cpu.get(name, 0):.1f}")


def memory(runs: Sequence[Measured]) -> Table:
    """Memory by process."""
    table = _by_process("Most memory (PSS), MB", runs, lambda run, name: f"{run.memory.get(name, 0) / 1e6:,.0f}")
    total = ["the sink in all", *(f"{usage.of_sink(run.memory) / 1e6:,.0f}" for run in runs)]
    return table._replace(rows=[*table.rows, total])


def _by_process(title: str, runs: Sequence[Measured], cell: Callable[[Measured, str], str]) -> Table:
    names = dict.fromkeys(name for run in runs for name in run.memory)
    return Table(
        title,
        ("process", *(run.contestant for run in runs)),
        [[name, *(cell(run, name) for run in runs)] for name in names],
    )
