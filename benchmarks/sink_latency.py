"""Measures the time from Kafka's CreateTime of an order until another session sees its row after COMMIT.

That session queries the missing orders repeatedly by primary key. `stored_at` is not used, because it is set before the
COMMIT. An order counts as visible when the query result with it has arrived. The time between two queries can thus only
increase the figures; it is reported as the resolution. Above 50 orders per second, only every n-th order is queried.
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

from benchmarks import backlog, bench_statements, usage
from benchmarks.arena import Arena
from benchmarks.backlog import PacedSender, Verdict
from benchmarks.bench_report import Bars, Report, Table
from benchmarks.contest import Contestant, running
from benchmarks.sink_rate import Sink
from orderflow import topic
from orderflow.embedded.process import Process
from orderflow.produce.outgoing_message import OutgoingMessage
from orderflow.settings import Settings
from orderflow.store.connection import Connection
from orderflow.store.statements import placeholders_for

RATES = [10, 100, 1_000, 5_000, 10_000]  # orders per second
_PROBES_PER_SECOND = 50  # orders that are queried
_PAUSE = 0.002  # seconds between a result and the next query
_MAX_IDS = 500  # orders in one query
_TIMEOUT = 60.0  # seconds after the last order was sent
_WARM_UP = 0.25  # as a share of the measured time
_CLIENT_WARM_UP = 1.0  # seconds: a new Kafka client delays its first orders by half a second
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


class Latency(msgspec.Struct, kw_only=True):
    """The latency at one rate, in milliseconds. `resolution` is the 99th percentile of the time between two results."""

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


class _Measurement(NamedTuple):
    """A running contestant, and a session that queries its table."""

    contestant: Contestant
    process: Process
    settings: Settings
    connection: Connection
    servers: dict[str, int]
    sequence: Iterator[OutgoingMessage]
    progress: Progress

    def run(self, rate: float, count: int, unprobed: int = 0) -> Latency:
        """Send `unprobed` and then `count` orders at this rate. Wait until all probed orders are visible.

        Raises StartFailed if the contestant exits, or if they are not visible one minute after the last order was sent.
        """
        ends = self._ends()
        roots = self.servers | {"sink": self.process.identity[0], "watching and sending": os.getpid()}
        task = self.progress.add_task(f"{self.contestant.name}, {rate:,g} orders/s", total=count)
        orders, every = islice(self.sequence, unprobed + count), max(1, round(rate / _PROBES_PER_SECOND))
        sender = PacedSender(self.settings, orders, rate, every, unprobed)
        while not (sender.probes or sender.done.done()):
            time.sleep(_PAUSE)
        with usage.PeakMemory(roots) as peak:
            started_at, before = time.monotonic(), usage.sample(roots)
            seen, gaps = self._watch(sender, task)
            used, seconds = usage.cpu(usage.sample(roots), before), time.monotonic() - started_at
        self.progress.remove_task(task)
        created = self._created(ends, seen)
        taken = sorted(visible * 1000 - created[order_id] for order_id, visible in seen.items())
        return Latency(
            rate=rate,
            sent_per_second=round((unprobed + count) / sender.seconds, 1),
            orders=len(taken),
            **{name: round(percentile(taken, share), 1) for name, share in _SHARES.items()},
            resolution=round(percentile(sorted(gaps), 0.99) * 1000, 1),
            cpu={group: round(spent / seconds, 3) for group, spent in used.items()},
            memory=dict(peak.bytes),
        )

    def _watch(self, sender: PacedSender, task: TaskID) -> tuple[dict[str, float], list[float]]:
        """Return when each order was seen, in seconds since 1970, and the seconds between results."""
        seen: dict[str, float] = {}
        gaps: list[float] = []
        waiting: dict[str, None] = {}
        queried, last, deadline = 0, 0.0, math.inf
        while waiting or queried < len(sender.probes) or not sender.done.done():
            new = sender.probes[queried:]
            queried += len(new)
            waiting |= dict.fromkeys(new)
            if ids := list(islice(waiting, _MAX_IDS)):
                rows = bench_statements.execute(self.connection, "select_visible", ids, ids=placeholders_for(ids)).rows
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
                deadline = min(deadline, time.time() + _TIMEOUT)
            if not self.process.alive or time.time() > deadline:
                raise self.process.failure(f"{self.contestant.name} did not store {len(waiting)} orders.")
            time.sleep(_PAUSE)
        sender.done.result()  # it may have failed before it sent the first probe
        return seen, gaps

    def _ends(self) -> dict[int, int]:
        info = topic.describe(self.settings)
        return {part: bounds.end for part, bounds in topic.bounds(self.settings, info.partitions).items()}

    def _created(self, starts: Mapping[int, int], wanted: Container[str]) -> dict[str, int]:
        """Return Kafka's CreateTime of these orders, in milliseconds since 1970."""
        return {
            order_id: record.timestamp
            for partition, end in self._ends().items()
            for record in topic.read(self.settings, partition, starts[partition], end)
            if (order_id := (record.key or b"").decode()) in wanted
        }


def percentile(ascending: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    return ascending[math.ceil(share * len(ascending)) - 1]


def bench(arena: Arena, progress: Progress, *, engine: str, rates: Sequence[float], seconds: float) -> Report:
    """Measure one sink at each rate."""
    contestant = Sink(engine)
    found, verdict = measure(contestant, arena, progress, rates, seconds)
    return Report(
        data={"engine": engine, "seconds": seconds, "table": str(verdict), "rates": msgspec.to_builtins(found)},
        tables=[
            Table(
                f"{contestant.name}: ms from CreateTime to visible, {seconds:g} s at each rate; table {verdict}",
                ("orders/s", *_SHARES, "sent/s", "probed", "± ms", "cores", "MB"),
                [_row(latency) for latency in found],
            )
        ],
        bars=Bars(
            f"{contestant.name}: CreateTime to visible",
            "ms",
            [(f"{latency.rate:,g}/s, {name}", getattr(latency, name)) for latency in found for name in ("p50", "p99")],
        ),
        exact=verdict.exact,
    )


def measure(
    contestant: Contestant, arena: Arena, progress: Progress, rates: Sequence[float], seconds: float
) -> tuple[list[Latency], Verdict]:
    """Return the latency at each rate, for `seconds` each after a warm-up; and the verdict on the table.

    Raises StartFailed.
    """
    found: list[Latency] = []
    sent = 0
    with arena.topic() as name, arena.database(name) as settings:
        process = contestant.process(arena, settings)
        with Connection(settings) as connection, running(process):
            orders = backlog.messages()
            measurement = _Measurement(contestant, process, settings, connection, arena.servers, orders, progress)
            for rate in rates:
                warm_up, unprobed, count = (
                    math.ceil(rate * duration) for duration in (seconds * _WARM_UP, _CLIENT_WARM_UP, seconds)
                )
                measurement.run(rate, warm_up)
                found.append(measurement.run(rate, count, unprobed))
                sent += warm_up + unprobed + count
        return found, backlog.check(settings, sent, progress)


def _row(latency: Latency) -> list[str]:
    times = [f"{getattr(latency, name):,.0f}" for name in _SHARES]
    return [
        f"{latency.rate:,g}",
        *times,
        f"{latency.sent_per_second:,.0f}",
        f"{latency.orders:,}",
        f"{latency.resolution:.1f}",
        f"{usage.of_sink(latency.cpu):.2f}",
        f"{usage.of_sink(latency.memory) / 1e6:,.0f}",
    ]
