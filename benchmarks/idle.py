"""Measures the cost of an idle sink, and the time to the first row after `orderflow up` and after a SIGKILL."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import Progress

from benchmarks import backlog, bench_statements, usage
from benchmarks.arena import Arena
from benchmarks.backlog import PacedSender
from benchmarks.bench_report import Bars, Report, Table
from benchmarks.contest import running
from benchmarks.sink_rate import Sink
from orderflow import settings as user_settings
from orderflow.embedded.process import Process
from orderflow.errors import DatabaseRefused, DatabaseUnavailable
from orderflow.running_servers import database_login, state_file
from orderflow.settings import Settings
from orderflow.store.connection import Connection

_SLOW = 0.5  # orders per second: the producer's default rate
_TIMEOUT = 120.0  # seconds


def bench(arena: Arena, progress: Progress, *, engine: str, seconds: float) -> Report:
    """Measure `seconds` without orders, then as long with an order every 2 seconds; then restarts."""
    sink = Sink(engine)
    task = progress.add_task("idle", total=4)
    with arena.topic() as topic, arena.database(topic) as settings:
        process = sink.process(arena, settings)
        sequence = backlog.messages()
        with Connection(settings) as connection, running(process):

            def stored() -> int:
                return sink.position(connection, settings)

            backlog.send(settings, islice(sequence, 1000), 1000, progress)
            _wait_until(lambda: stored() == 1000, process)
            time.sleep(seconds / 4)  # warm-up after the start: compilers, caches
            roots = arena.servers | {"sink": process.identity[0]}
            nothing = _measure_usage(roots, seconds)
            progress.advance(task)
            sender = PacedSender(settings, islice(sequence, round(seconds * _SLOW)), _SLOW, 1)
            slow = _measure_usage(roots, seconds)
            sender.done.result()
            progress.advance(task)
            before = 1000 + round(seconds * _SLOW)
            _wait_until(lambda: stored() == before, process)
            process.kill()
            backlog.send(settings, islice(sequence, 1), 1, progress)
            killed = time.monotonic()
            process.start()
            _wait_until(lambda: stored() > before, process)
            restart = time.monotonic() - killed
            progress.advance(task)
        verdict = backlog.check(settings, before + 1, progress)
    first = _first_order_of_up(arena, engine.partition("-")[0])
    progress.advance(task)
    return Report(
        data={
            "engine": engine,
            "idle": nothing,
            "one_order_per_2_s": slow,
            "up_to_first_order_s": round(first, 2),
            "restart_after_sigkill_s": round(restart, 2),
        },
        tables=[
            Table(
                f"{sink.name}: % of a core and MB (PSS); table {verdict}",
                ("process", "no orders, %", "MB", "an order every 2 s, %", "MB"),
                [
                    [
                        group,
                        *(f"{sample[group][what]:,.1f}" for sample in (nothing, slow) for what in ("cpu", "memory")),
                    ]
                    for group in nothing
                ],
            ),
            Table(
                "Seconds until another session sees the first row",
                ("from", "s"),
                [["`orderflow up`, servers included", f"{first:.1f}"], ["start after SIGKILL", f"{restart:.1f}"]],
            ),
        ],
        bars=Bars("Idle", "% of a core", [(group, sample["cpu"]) for group, sample in nothing.items()]),
        exact=verdict.exact,
    )


def _measure_usage(roots: dict[str, int], seconds: float) -> dict[str, dict[str, float]]:
    """Return processor time in % of a core, and MB at the end, by process."""
    before, started_at = usage.sample(roots), time.monotonic()
    time.sleep(seconds)
    after = usage.sample(roots)
    taken, memory = time.monotonic() - started_at, usage.memory(after)
    return {
        group: {"cpu": round(used / taken * 100, 2), "memory": round(memory[group] / 1e6, 1)}
        for group, used in usage.cpu(after, before).items()
    }


def _first_order_of_up(arena: Arena, engine: str) -> float:
    """Return the seconds from `orderflow up` in an empty folder to the first row, with all dependencies installed.

    It starts its own servers, even if the settings name others.
    """
    names = [name for name, _, _ in user_settings.table()]
    with TemporaryDirectory(dir=arena.folder) as home:
        own = {name: value for name, value in os.environ.items() if name not in names}
        process = Process(
            "orderflow up",
            [sys.executable, "-m", "orderflow", "up", "--engine", engine],
            log=Path(home) / "up.log",
            env=own | {"ORDERFLOW_HOME": home},
            cwd=Path(home),
        )
        started_at = time.monotonic()
        process.start()
        try:
            _wait_until(lambda: _has_rows(Path(home)), process)
            return time.monotonic() - started_at
        finally:
            process.stop(_TIMEOUT)  # it stops the servers that it started


def _has_rows(home: Path) -> bool:
    state = state_file.read(home)
    if state is None or not state.database_port:
        return False
    password = database_login.password(state_file.database_folder(home))
    settings = Settings(mysql_host="127.0.0.1", mysql_port=state.database_port, mysql_password=password)
    try:
        with Connection(settings) as connection:
            return bool(bench_statements.execute(connection, "count_rows").rows[0][0])
    except (DatabaseUnavailable, DatabaseRefused):  # no server yet, or no table
        return False


def _wait_until(condition: Callable[[], bool], process: Process) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        if not process.alive or time.monotonic() > deadline:
            raise process.failure(f"{process.name} stored nothing within {_TIMEOUT:g} s.")
        time.sleep(0.02)
