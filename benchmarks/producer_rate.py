"""Measures how many orders per second `orderflow produce` generates, encodes, keys and gets acknowledged."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module, util
from itertools import islice
from statistics import median
from typing import Any

import msgspec
from rich.progress import Progress

from benchmarks import backlog
from benchmarks.arena import Arena
from benchmarks.bench_report import Bars, Report, Table
from orderflow import topic
from orderflow.errors import StartFailed
from orderflow.settings import Settings

_CODECS = ["none", "gzip", "lz4", "snappy", "zstd"]

Sender = Callable[[Arena, Settings, int], float]


def bench(arena: Arena, progress: Progress, *, rows: int, rounds: int) -> Report:
    """Measure each client with each of its codecs, in alternating runs."""
    contestants: dict[str, tuple[Sender, str]] = {f"orderflow, {codec}": (_orderflow, codec) for codec in _CODECS}
    contestants |= {f"kafka-python, {codec}": (_kafka_python, codec) for codec in _codecs_of_kafka_python()}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    wrong = 0
    task = progress.add_task("producers", total=rounds * len(contestants))
    for _ in range(rounds):
        for name, (send, codec) in contestants.items():
            with arena.topic() as fresh:
                settings = msgspec.structs.replace(arena.settings, kafka_topic=fresh, kafka_compression=codec)
                rates[name].append(rows / send(arena, settings, rows))
                ends = topic.bounds(settings, topic.describe(settings).partitions)
                wrong += sum(bounds.end for bounds in ends.values()) != rows
            progress.advance(task)
    medians = {name: median(found) for name, found in rates.items()}
    return Report(
        data={"rows": rows, "orders_per_second": {name: round(rate) for name, rate in medians.items()}, "runs": rates},
        tables=[
            Table(
                f"{rows:,} orders, median of {rounds}; {'topics WRONG' if wrong else 'every topic has all of them'}",
                ("producer, compression", "acknowledged orders/s"),
                [[name, f"{rate:,.0f}"] for name, rate in medians.items()],
            )
        ],
        bars=Bars("Orders acknowledged by Kafka", "orders/s", list(medians.items())),
        exact=not wrong,
    )


def _orderflow(arena: Arena, settings: Settings, rows: int) -> float:
    """Run the command. Return the seconds from its first order to the last acknowledgement."""
    command = [sys.executable, "-m", "orderflow", "produce", "--count", str(rows), "--json"]
    done = subprocess.run(
        command,
        env=arena.environment(settings),
        cwd=arena.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StartFailed(f"orderflow produce failed: {done.stderr.strip()[-500:]}", hint="See `orderflow doctor`.")
    return float(rows / json.loads(done.stdout.splitlines()[-1])["rate"])


def _kafka_python(_: Arena, settings: Settings, rows: int) -> float:
    """Send the same messages with the same batch size: kafka-python's default of 16 KB would slow it down."""
    client: Any = import_module("kafka")
    codec = None if settings.kafka_compression == "none" else settings.kafka_compression
    producer = client.KafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        acks="all",
        compression_type=codec,
        linger_ms=5,
        batch_size=512 * 1024,
    )
    started_at = time.monotonic()
    for key, value, _partition in islice(backlog.messages(), rows):
        producer.send(settings.kafka_topic, value, key)
    producer.flush()
    seconds = time.monotonic() - started_at
    producer.close()
    return seconds


def _codecs_of_kafka_python() -> list[str]:
    """Return its codecs; none if it is not installed, because OrderFlow does not depend on it."""
    if not util.find_spec("kafka"):
        return []
    codecs: Any = import_module("kafka.codec")
    return [codec for codec in _CODECS if codec == "none" or getattr(codecs, f"has_{codec}")()]
