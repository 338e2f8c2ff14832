"""Measures the rates as the tables grow, and the memory over hours."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from rich.progress import Progress

from benchmarks import backlog, limit, usage
from benchmarks.arena import Arena
from benchmarks.backlog import PacedSender
from benchmarks.bench_report import Bars, Report, Table
from benchmarks.contest import Measured, cpu, drain, rates, running
from benchmarks.sink_rate import Sink
from orderflow.errors import InputInvalid
from orderflow.store import schema
from orderflow.store.connection import Connection

SIZES = [1_000_000, 10_000_000, 50_000_000]  # rows
_BYTES = 700  # of disk per row in both tables: tables, indexes, topic, files, and binary logs between two purges
_SLICE = 1_000_000  # rows that are generated and loaded at once
SOAK_RATE = 2_000  # orders per second
_SETTLED = 60.0  # seconds until the first memory sample


def bench(arena: Arena, progress: Progress, *, engine: str, sizes: Sequence[int], rows: int) -> Report:
    """Fill both tables to each size; at each size load `rows` rows as the limit, and drain as many with the sink.

    The tables are filled with a larger buffer pool: with the default size, 50 million rows would take hours.
    """
    if (free := shutil.disk_usage(arena.folder).free) < (need := (max(sizes) + rows * len(sizes)) * _BYTES):
        raise InputInvalid(
            f"{arena.folder} has {free / 1e9:,.0f} GB free; tables of {max(sizes):,} rows need {need / 1e9:,.0f}.",
            hint="Choose smaller sizes with --size, or another disk with ORDERFLOW_HOME.",
        )
    sink = Sink(engine)
    sequence, row_count = backlog.messages(), 0
    found: list[Measured] = []
    with ExitStack() as stack:
        plain, sink_settings = (stack.enter_context(arena.database(arena.settings.kafka_topic)) for _ in range(2))
        limit.make_table(plain)
        schema.prepare(sink_settings)
        connections = 0
        for size in sorted(sizes):
            task = progress.add_task(f"filling to {size:,} rows", total=size, completed=row_count)
            with arena.tables_in_memory():
                while row_count < size:
                    with TemporaryDirectory(dir=arena.folder) as folder:
                        files = limit.make_files(islice(sequence, min(_SLICE, size - row_count)), Path(folder))
                        for table in (plain, sink_settings):
                            limit.load(table, files.paths, 3, progress)
                        row_count += files.rows
                    progress.update(task, completed=row_count)
                    arena.purge_binary_logs()
            progress.remove_task(task)
            orders = list(islice(sequence, rows))
            with arena.topic() as topic, TemporaryDirectory(dir=arena.folder) as folder:
                settings = msgspec.structs.replace(sink_settings, kafka_topic=topic)
                backlog.send(settings, orders, rows, progress)
                files = limit.make_files(orders, Path(folder))
                connections = connections or limit.best(arena, files, limit.CONNECTIONS, progress).connections
                for run in (
                    limit.run(arena, files, connections, progress, plain),
                    drain(sink, arena, settings, rows, progress),
                ):
                    found.append(msgspec.structs.replace(run, contestant=f"{run.contestant}, at {row_count:,} rows"))
            row_count += rows
        verdicts = [backlog.check(table, row_count, progress) for table in (plain, sink_settings)]
    for number, run in enumerate(found):
        run.table, run.exact = str(verdicts[number % 2]), verdicts[number % 2].exact
    return Report(
        data={"engine": engine, "rows": rows, "sizes": list(sizes), "runs": msgspec.to_builtins(found)},
        tables=[rates(found, f"{rows:,} rows into tables of {', '.join(f'{size:,}' for size in sizes)}"), cpu(found)],
        bars=Bars(f"{rows:,} rows into a table that grows", "rows/s", [(run.contestant, run.steady) for run in found]),
        exact=all(run.exact for run in found),
    )


def soak(arena: Arena, progress: Progress, *, engine: str, minutes: float) -> Report:
    """Store 2,000 orders/s for `minutes`; report each process' memory at the start, in the middle and at the end."""
    sink, count = Sink(engine), round(minutes * 60 * SOAK_RATE)
    samples: dict[str, dict[str, int]] = {}
    with arena.topic() as topic, arena.database(topic) as settings:
        process = sink.process(arena, settings)
        with Connection(settings) as connection, running(process):
            roots = arena.servers | {"sink": process.identity[0]}
            task = progress.add_task("soak", total=count)
            started_at, seconds = time.monotonic(), minutes * 60
            sender = PacedSender(settings, islice(backlog.messages(), count), SOAK_RATE, count)
            for name, due in (("start", min(_SETTLED, seconds / 6)), ("middle", seconds / 2), ("end", seconds)):
                while time.monotonic() < started_at + due:
                    if not process.alive:
                        raise process.failure(f"{sink.name} exited with code {process.exit_code}.")
                    progress.update(task, completed=sink.position(connection, settings))
                    time.sleep(0.5)
                samples[name] = dict(usage.memory(usage.sample(roots)))
            behind = count - sink.position(connection, settings)
            sender.done.result()
            while sink.position(connection, settings) < count:
                if not process.alive or time.monotonic() > started_at + 2 * seconds:
                    raise process.failure(f"{sink.name} did not store all {count:,} orders.")
                time.sleep(0.1)
        verdict = backlog.check(settings, count, progress)
    return Report(
        data={
            "engine": engine,
            "minutes": minutes,
            "rate": SOAK_RATE,
            "behind": behind,
            "memory": samples,
            "table": str(verdict),
        },
        tables=[
            Table(
                f"{sink.name}: MB (PSS) in {minutes:g} minutes at {SOAK_RATE:,} orders/s; table {verdict}",
                ("process", *samples),
                [
                    [group, *(f"{sample.get(group, 0) / 1e6:,.0f}" for sample in samples.values())]
                    for group in samples["end"]
                ],
            )
        ],
        bars=Bars(
            f"{sink.name}: memory", "MB", [(name, usage.of_sink(sample) / 1e6) for name, sample in samples.items()]
        ),
        exact=verdict.exact,
    )
