"""How long an order takes from Kafka's CreateTime until another session sees its row after COMMIT.

That session asks again and again, by primary key, for the orders it waits for: `stored_at` would not do, for it is
taken before the COMMIT. An order counts as visible when the answer that holds it has arrived, so the time between two
questions, which is told, makes the figures larger, never smaller. At more than 50 orders a second, every n-th order
is asked for.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec
from rich.progress import Progress, TaskID

from orderflow import topic
from orderflow.bench import backlog, usage
from orderflow.bench.arena import Arena
from orderflow.bench.backlog import PacedSender, Verdict
from orderflow.bench.contest import Contestant, running
from orderflow.bench.report import Bars, Report, Table
from orderflow.bench.sink import Sink
from orderflow.embedded.process import Process
from orderflow.produce.generator import Message
from orderflow.settings import Settings
from orderflow.store.connection import Connection
from orderflow.store.statements import marks

RATES = [10, 100, 1_000, 5_000, 10_000]  # orders per second
_ASKED_FOR = 50  # orders per second
_PAUSE = 0.002  # seconds between an answer and the next question
_AT_ONCE = 500  # orders in one question
_PATIENCE = 60.0  # seconds after the last order was sent
_WARM_UP = 0.25  # of the measured time
_CLIENTS_WARM_UP = 1.0  # seconds: a new client of Kafka's holds its first orders for half of one
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


class Latency(msgspec.Struct, kw_only=True):
    """At one rate. Times in milliseconds; `resolution` is the 99th percentile of the time between two answers."""

    rate: float
    sent_per_second: float
    orders: int
    p50: float
    p95: float
    p99: float
    max: float
    resolution: float
    cpu: dict[str, float]  # share of one core, by process
    memory: dict[str, int]  # bytes, by process


class _Course(NamedTuple):
    """A contestant that runs, and a session that watches its table."""

    contestant: Contestant
    process: Process
    settings: Settings
    connection: Connection
    servers: dict[str, int]
    sequence: Iterator[Message]
    progress: Progress

    def run(self, rate: float, count: int, first: int = 0) -> Latency:
        """Send the next so many orders at this rate, behind some first ones; wait until all asked for are visible.

        Raises StartFailed if the contestant ends, or they are not within a minute after the last one was sent.
        """
        ends = self._ends()
        roots = self.servers | {"sink": self.process.identity[0], "watching and sending": os.getpid()}
        task = self.progress.add_task(f"{self.contestant.name}, {rate:,g} orders/s", total=count)
        orders, every = islice(self.sequence, first + count), max(1, round(rate / _ASKED_FOR))
        sender = PacedSender(self.settings, orders, rate, every, first)
        while not (sender.probes or sender.done.done()):
            time.sleep(_PAUSE)
        with usage.PeakMemory(roots) as peak:
            started, before = time.monotonic(), usage.look(roots)
            seen, gaps = self._watch(sender, task)
            used, seconds = usage.cpu(usage.look(roots), before), time.monotonic() - started
        self.progress.remove_task(task)
        created = self._created(ends, seen)
        taken = sorted(visible * 1000 - created[order_id] for order_id, visible in seen.items())
        return Latency(
            rate=rate,
            sent_per_second=round((first + count) / sender.seconds, 1),
            orders=len(taken),
            **{name: round(percentile(taken, share), 1) for name, share in _SHARES.items()},
            resolution=round(percentile(sorted(gaps), 0.99) * 1000, 1),
            cpu={group: round(one / seconds, 3) for group, one in used.items()},
            memory=dict(peak.bytes),
        )

    def _watch(self, sender: PacedSender, task: TaskID) -> tuple[dict[str, float], list[float]]:
        """When each order was seen, in seconds since 1970, and the seconds between answers."""
        seen: dict[str, float] = {}
        gaps: list[float] = []
        waiting: dict[str, None] = {}
        asked, last, deadline = 0, 0.0, math.inf
        while waiting or asked < len(sender.probes) or not sender.done.done():
            new = sender.probes[asked:]
            asked += len(new)
            waiting |= dict.fromkeys(new)
            if ids := list(islice(waiting, _AT_ONCE)):
                rows = self.connection.run("bench_select_visible", ids, ids=marks(ids)).rows
                now = time.time()
                if last:
                    gaps.append(now - last)
                last = now
                for (order_id,) in rows:
                    seen[order_id] = now
                    del waiting[order_id]
                self.progress.update(task, completed=len(seen) * sender.every)
            else:
                last = 0.0
            if sender.done.done():
                sender.done.result()
                deadline = min(deadline, time.time() + _PATIENCE)
            if not self.process.alive or time.time() > deadline:
                raise self.process.failure(f"{self.contestant.name} left {len(waiting)} orders out.")
            time.sleep(_PAUSE)
        sender.done.result()  # it may have failed before there was anything to watch
        return seen, gaps

    def _ends(self) -> dict[int, int]:
        info = topic.describe(self.settings)
        return {part: bounds.end for part, bounds in topic.bounds(self.settings, info.partitions).items()}

    def _created(self, starts: Mapping[int, int], wanted: Container[str]) -> dict[str, int]:
        """Kafka's CreateTime of these orders, in milliseconds since 1970."""
        return {
            order_id: record.timestamp
            for partition, end in self._ends().items()
            for record in topic.read(self.settings, partition, starts[partition], end)
            if (order_id := (record.key or b"").decode()) in wanted
        }


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    return ascending[math.ceil(share * len(ascending)) - 1]


def bench(arena: Arena, progress: Progress, *, engine: str, rates: Sequence[float], seconds: float) -> Report:
    """One sink, at one rate after the other."""
    contestant = Sink(engine)
    found, verdict = measure(contestant, arena, progress, rates, seconds)
    return Report(
        data={"engine": engine, "seconds": seconds, "table": str(verdict), "rates": msgspec.to_builtins(found)},
        tables=[
            Table(
                f"{contestant.name}: ms from CreateTime to visible, {seconds:g} s at each rate; table {verdict}",
                ("orders/s", *_SHARES, "sent/s", "asked for", "± ms", "cores", "MB"),
                [_row(one) for one in found],
            )
        ],
        bars=Bars(
            f"{contestant.name}: CreateTime to visible",
            "ms",
            [(f"{one.rate:,g}/s, {name}", getattr(one, name)) for one in found for name in ("p50", "p99")],
        ),
        exact=verdict.exact,
    )


def measure(
    contestant: Contestant, arena: Arena, progress: Progress, rates: Sequence[float], seconds: float
) -> tuple[list[Latency], Verdict]:
    """Its figures at one rate after the other, so many seconds each after a warm-up; and what its table held.

    Raises StartFailed.
    """
    found: list[Latency] = []
    sent = 0
    with arena.topic() as name, arena.database(name) as settings:
        process = contestant.process(arena, settings)
        with Connection(settings) as connection, running(process):
            course = _Course(contestant, process, settings, connection, arena.servers, backlog.messages(), progress)
            for rate in rates:
                warm_up, first, count = (
                    math.ceil(rate * one) for one in (seconds * _WARM_UP, _CLIENTS_WARM_UP, seconds)
                )
                course.run(rate, warm_up)
                found.append(course.run(rate, count, first))
                sent += warm_up + first + count
        return found, backlog.check(settings, sent, progress)


def _row(one: Latency) -> list[str]:
    times = [f"{getattr(one, name):,.0f}" for name in _SHARES]
    return [
        f"{one.rate:,g}",
        *times,
        f"{one.sent_per_second:,.0f}",
        f"{one.orders:,}",
        f"{one.resolution:.1f}",
        f"{usage.of_sink(one.cpu):.2f}",
        f"{usage.of_sink(one.memory) / 1e6:,.0f}",
    ]
