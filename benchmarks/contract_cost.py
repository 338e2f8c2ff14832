"""Measures what a contract file costs: the sink with four custom fields and with the default one, and both paths."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

import msgspec
from rich.progress import Progress

from benchmarks import backlog
from benchmarks.arena import Arena
from benchmarks.bench_report import Bars, Report, Table
from benchmarks.contest import Measured, drain, measure, median, rates
from benchmarks.sink_rate import Sink
from orderflow.contract import exact_path, fast_path, loader
from orderflow.contract.definition import DEFAULT, Contract
from orderflow.produce.outgoing_message import OutgoingMessage
from orderflow.settings import Settings

CUSTOM_FIELDS = """
[fields.currency]
type = "string"
max_length = 3
values = ["EUR", "USD"]
[fields.tax]
type = "decimal"
scale = 4
[fields.paid_at]
type = "timestamp"
format = "rfc3339"
[fields.channel]
key = "source.channel"
type = "string"
max_length = 20
required = false
"""
_CUSTOM_VALUES = (
    b', "currency": "EUR", "tax": 1.2500, "paid_at": "2025-01-15T15:30:45.250+01:00", "source": {"channel": "web"}}'
)
_BATCH = 20_000  # messages, as in a transaction
_SECONDS = 3.0  # for which each path reads
_PROCESSES = 2


class _Kind(msgspec.Struct):
    name: str
    contract: Contract
    messages: Callable[[], Iterator[OutgoingMessage]]
    settings: Settings
    sink: Sink
    runs: list[Measured] = []


def bench(arena: Arena, progress: Progress, *, engine: str, rows: int, rounds: int) -> Report:
    """Drain a backlog of `rows` orders by each contract, in alternating runs, and read messages without servers."""
    path = arena.folder / "contract.toml"
    path.write_text(CUSTOM_FIELDS, "utf-8")
    with_custom = msgspec.structs.replace(arena.settings, order_contract=str(path), order_contract_text=CUSTOM_FIELDS)
    kinds = [
        _Kind("default contract", DEFAULT, backlog.messages, arena.settings, Sink(engine)),
        _Kind("four custom fields", loader.contract_of(with_custom), _with_custom_fields, with_custom, Sink(engine)),
    ]
    reading = {kind.name: _read_rates(kind) for kind in kinds}
    with arena.topic() as first, arena.topic() as second:
        topics = first, second
        for kind, topic in zip(kinds, topics, strict=True):
            settings = msgspec.structs.replace(kind.settings, kafka_topic=topic)
            backlog.send(settings, islice(kind.messages(), rows), rows, progress)
        for _ in range(rounds):
            for kind, topic in zip(kinds, topics, strict=True):
                kind.runs.append(_drained(kind, arena, topic, rows, progress))
    default, custom = (median(kind.runs) for kind in kinds)
    share = round(custom.steady / default.steady, 3)
    return Report(
        data={
            "rows": rows,
            "engine": engine,
            "share_of_default": share,
            "reading": reading,
            "runs": msgspec.to_builtins([*kinds[0].runs, *kinds[1].runs]),
        },
        tables=[
            rates([default, custom], f"{rows:,} orders, median of {rounds}: {share:.2f} of the default contract"),
            Table(
                f"Messages read per second; the exact path by {_PROCESSES} processes",
                ("contract", "fast path, one process", "exact path"),
                [[name, *(f"{rate:,.0f}" for rate in found.values())] for name, found in reading.items()],
            ),
        ],
        bars=Bars(f"{rows:,} orders into MySQL", "rows/s", [(run.contestant, run.steady) for run in (default, custom)]),
        exact=default.exact and custom.exact,
    )


def _drained(kind: _Kind, arena: Arena, topic: str, rows: int, progress: Progress) -> Measured:
    def drained(settings: Settings) -> Measured:
        contract = {name: getattr(kind.settings, name) for name in ("order_contract", "order_contract_text")}
        return drain(kind.sink, arena, msgspec.structs.replace(settings, **contract), rows, progress)

    measured = measure(arena, topic, rows, progress, drained)
    measured.contestant = kind.name
    return measured


def _with_custom_fields() -> Iterator[OutgoingMessage]:
    for key, value, partition in backlog.messages():
        assert value
        yield key, value[:-1] + _CUSTOM_VALUES, partition


def _read_rates(kind: _Kind) -> dict[str, float]:
    values = [value for _, value, _ in islice(kind.messages(), _BATCH) if value]
    with ProcessPoolExecutor(_PROCESSES) as pool:
        exact = sum(pool.map(_exact_rate, [values] * _PROCESSES, [kind.contract] * _PROCESSES))
    return {"fast": _rate(values, lambda: fast_path.decode_values(values, kind.contract)), "exact": exact}


def _exact_rate(values: Sequence[bytes], contract: Contract) -> float:
    return _rate(values, lambda: [exact_path.decode(value, contract) for value in values])


def _rate(values: Sequence[bytes], read: Callable[[], object]) -> float:
    """Return how many of these messages are read per second."""
    read()
    started_at, count = time.monotonic(), 0
    while (elapsed := time.monotonic() - started_at) < _SECONDS:
        read()
        count += len(values)
    return count / elapsed
