"""What it costs to have it running, and how soon it stores: after `orderflow up`, and after a SIGKILL."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from rich.progress import Progress

from orderflow import settings as user_settings
from orderflow.bench import backlog, usage
from orderflow.bench.arena import Arena
from orderflow.bench.backlog import PacedSender
from orderflow.bench.contest import running
from orderflow.bench.report import Bars, Report, Table
from orderflow.bench.sink import Sink
from orderflow.embedded import stack
from orderflow.embedded.process import Process
from orderflow.errors import DatabaseRefused, DatabaseUnavailable
from orderflow.settings import Settings
from orderflow.store.connection import Connection

_SLOW = 0.5  # orders per second: the producer's own pace
_PATIENCE = 120.0  # seconds


def bench(arena: Arena, progress: Progress, *, engine: str, seconds: float) -> Report:
    """Nothing to do for so many seconds; an order every 2 seconds for as many; then a kill, and a start of all."""
    sink = Sink(engine)
    task = progress.add_task("idle", total=4)
    with arena.topic() as topic, arena.database(topic) as settings:
        process = sink.process(arena, settings)
        sequence = backlog.messages()
        with Connection(settings) as connection, running(process):

            def stored() -> int:
                return sink.position(connection, settings)

            backlog.send(settings, islice(sequence, 1000), 1000, progress)
            _until(lambda: stored() == 1000, process)
            time.sleep(seconds / 4)  # what comes after a start: compilers, caches
            roots = arena.servers | {"sink": process.identity[0]}
            nothing = _watch(roots, seconds)
            progress.advance(task)
            sender = PacedSender(settings, islice(sequence, round(seconds * _SLOW)), _SLOW, 1)
            slow = _watch(roots, seconds)
            sender.done.result()
            progress.advance(task)
            before = 1000 + round(seconds * _SLOW)
            _until(lambda: stored() == before, process)
            process.kill()
            backlog.send(settings, islice(sequence, 1), 1, progress)
            killed = time.monotonic()
            process.start()
            _until(lambda: stored() > before, process)
            restart = time.monotonic() - killed
            progress.advance(task)
        verdict = backlog.check(settings, before + 1, progress)
    first = _first_order_of_up(arena, engine)
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
                    [group, *(f"{look[group][what]:,.1f}" for look in (nothing, slow) for what in ("cpu", "memory"))]
                    for group in nothing
                ],
            ),
            Table(
                "Seconds to the first row that others see",
                ("from", "s"),
                [["`orderflow up`, servers included", f"{first:.1f}"], ["start after SIGKILL", f"{restart:.1f}"]],
            ),
        ],
        bars=Bars("Idle", "% of a core", [(group, look["cpu"]) for group, look in nothing.items()]),
        exact=verdict.exact,
    )


def _watch(roots: dict[str, int], seconds: float) -> dict[str, dict[str, float]]:
    """Processor time in % of a core, and MB at the end, by process."""
    before, started = usage.look(roots), time.monotonic()
    time.sleep(seconds)
    after = usage.look(roots)
    taken, memory = time.monotonic() - started, usage.memory(after)
    return {
        group: {"cpu": round(used / taken * 100, 2), "memory": round(memory[group] / 1e6, 1)}
        for group, used in usage.cpu(after, before).items()
    }


def _first_order_of_up(arena: Arena, engine: str) -> float:
    """Seconds from `orderflow up` in an empty folder, all it needs being installed, to the first row.

    It starts the servers of its own choice, whatever the settings name.
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
        started = time.monotonic()
        process.start()
        try:
            _until(lambda: _has_rows(Path(home)), process)
            return time.monotonic() - started
        finally:
            process.stop(_PATIENCE)  # it stops what it started


def _has_rows(home: Path) -> bool:
    state, password = home / "state.json", home / "database" / "password"
    if not state.exists() or not password.exists():
        return False
    port = msgspec.json.decode(state.read_bytes(), type=stack.State).database_port
    there = Settings(mysql_host="127.0.0.1", mysql_port=port or 0, mysql_password=password.read_text())
    try:
        with Connection(there) as connection:
            return bool(connection.run("bench_count_rows").rows[0][0])
    except (DatabaseUnavailable, DatabaseRefused):  # no server yet, or no table
        return False


def _until(condition: Callable[[], bool], process: Process) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if not process.alive or time.monotonic() > deadline:
            raise process.failure(f"{process.name} stored nothing within {_PATIENCE:g} s.")
        time.sleep(0.02)
