"""Sends a seeded sequence of orders, and checks that the table holds exactly these: the sequence is generated again.

The expected rows are decoded without the contract's code, so the check is independent of the sink.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import count, islice
from typing import NamedTuple

import msgspec
from rich.progress import Progress

from benchmarks import bench_statements
from orderflow.errors import KafkaUnavailable
from orderflow.pipeline.engine import run_in_thread
from orderflow.produce.delivery import OrderProducer, StopRequest
from orderflow.produce.generator import Generator
from orderflow.produce.outgoing_message import OutgoingMessage
from orderflow.produce.pace import paced
from orderflow.settings import Settings
from orderflow.store.connection import Connection

FIRST = 100_000_001  # all order ids have nine digits, so they sort as texts like their numbers
CHUNK = 20_000  # rows
_EPOCH = 1_760_000_000  # seconds since 1970: the first order_timestamp; 1,000 orders have the same second
_PER_SECOND = 1_000


class _Sent(msgspec.Struct):
    customer_id: int
    order_id: str
    product_name: str
    product_category: str
    unit_price: Decimal
    quantity: int
    total_price: Decimal
    order_timestamp: str


class Verdict(NamedTuple):
    """The result of comparing a table with the sent orders, in rows. `example` is one wrong order_id."""

    rows: int
    missing: int = 0
    altered: int = 0
    extra: int = 0
    example: str = ""

    @property
    def exact(self) -> bool:
        """Whether the table holds exactly the sent orders."""
        return not (self.missing or self.altered or self.extra)

    def __str__(self) -> str:
        if self.exact:
            return "exact"
        summary = f"WRONG: {self.missing:,} missing, {self.altered:,} altered, {self.extra:,} extra"
        return f"{summary}, for example {self.example}" if self.example else summary


def messages() -> Iterator[OutgoingMessage]:
    """Return the endless sequence of messages, like the producer's."""
    clock = (_EPOCH + number // _PER_SECOND for number in count()).__next__
    return iter(Generator(FIRST, seed=1, clock=clock))


def lines(sequence: Iterable[OutgoingMessage]) -> Iterator[list[str]]:
    """Yield the messages as rows of tab-separated columns, in chunks."""
    decode = msgspec.json.Decoder(list[_Sent]).decode
    values = (value for _, value, _ in sequence if value)
    while chunk := b",".join(islice(values, CHUNK)):
        yield [
            f"{o.customer_id}\t{o.order_id}\t{o.product_name}\t{o.product_category}\t{o.unit_price}\t{o.quantity}"
            f"\t{o.total_price}\t{o.order_timestamp.replace('T', ' ')}"
            for o in decode(b"[%b]" % chunk)
        ]


def send(settings: Settings, orders: Iterable[OutgoingMessage], rows: int, progress: Progress) -> None:
    """Send these orders to the topic. Return when all are acknowledged; `rows` is their number.

    Raises KafkaUnavailable.
    """
    producer = OrderProducer(settings, None, StopRequest(), lambda _: None)
    for message in progress.track(orders, total=rows, description="filling the topic"):
        producer.send(message)
    producer.flush()
    if producer.unsent:
        raise KafkaUnavailable(f"{producer.unsent:,} orders were not acknowledged: {producer.last_failure}")


class PacedSender:
    """Sends orders at a steady rate in its own thread.

    `probes` has the ids of every `every`-th order sent so far, except for the first `unprobed` orders. `done` has the
    error after a failure.
    """

    def __init__(
        self, settings: Settings, orders: Iterable[OutgoingMessage], rate: float, every: int, unprobed: int = 0
    ) -> None:
        self.probes: list[str] = []
        self.every = every
        self.unprobed = unprobed
        self.seconds = 0.0
        self.done = run_in_thread("sender", lambda: self._send(settings, orders, rate))

    def _send(self, settings: Settings, orders: Iterable[OutgoingMessage], rate: float) -> None:
        # The client is local: one that outlives this method would create the topic again after its deletion.
        producer = OrderProducer(settings, rate, StopRequest(), lambda _: None)
        started_at = time.monotonic()
        for number, message in enumerate(paced(iter(orders), rate, producer.wait)):
            producer.send(message)
            if number >= self.unprobed and number % self.every == 0:
                assert message[0]
                self.probes.append(message[0].decode())
        self.seconds = time.monotonic() - started_at
        producer.flush()


def check(settings: Settings, rows: int, progress: Progress) -> Verdict:
    """Compare the table row by row with the first `rows` orders of the sequence."""
    missing = altered = 0
    example = ""
    task = progress.add_task("checking each row", total=rows)
    with Connection(settings) as connection:
        for chunk in lines(islice(messages(), rows)):
            sent = {line.split("\t", 2)[1]: line for line in chunk}
            ids = list(sent)
            found = dict(bench_statements.execute(connection, "select_lines", {"first": ids[0], "last": ids[-1]}).rows)
            if found != sent:
                lost = sent.keys() - found.keys()
                wrong = [order_id for order_id in sent.keys() & found.keys() if sent[order_id] != found[order_id]]
                missing, altered = missing + len(lost), altered + len(wrong)
                example = example or min([*lost, *wrong], default="")
            progress.advance(task, len(chunk))
        extra = int(bench_statements.execute(connection, "count_rows").rows[0][0]) - (rows - missing)
    progress.remove_task(task)
    return Verdict(rows, missing, altered, extra, example)
