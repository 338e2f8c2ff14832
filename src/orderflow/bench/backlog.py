"""What is sent, and whether exactly that stands in the table: one seeded sequence of orders, drawn again to compare.

The rows are read from the messages here without the contract's code, so that the check owes the sink nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import count, islice
from typing import NamedTuple

import msgspec
from rich.progress import Progress

from orderflow.errors import KafkaUnavailable
from orderflow.pipeline.engine import background
from orderflow.produce.delivery import Delivery, Stop
from orderflow.produce.generator import Generator, Message
from orderflow.produce.pace import paced
from orderflow.settings import Settings
from orderflow.store.connection import Connection

FIRST = 100_000_001  # all order ids of a run have nine digits: their order as texts is that of their numbers
CHUNK = 20_000  # rows
_EPOCH = 1_760_000_000  # seconds; orders are dated from then on, 1,000 in each second
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
    """What the comparison of a table with what was sent found, in rows. `example` is an order_id that is wrong."""

    rows: int
    missing: int = 0
    altered: int = 0
    extra: int = 0
    example: str = ""

    @property
    def exact(self) -> bool:
        """Whether the table holds what was sent, and nothing else."""
        return not (self.missing or self.altered or self.extra)

    def __str__(self) -> str:
        if self.exact:
            return "exact"
        told = f"WRONG: {self.missing:,} missing, {self.altered:,} altered, {self.extra:,} extra"
        return f"{told}, as {self.example}" if self.example else told


def messages() -> Iterator[Message]:
    """The endless sequence as the producer sends it."""
    clock = (_EPOCH + number // _PER_SECOND for number in count()).__next__
    return iter(Generator(FIRST, seed=1, clock=clock))


def lines(sequence: Iterable[Message]) -> Iterator[list[str]]:
    """The same as rows of tab-separated columns, in chunks."""
    decode = msgspec.json.Decoder(list[_Sent]).decode
    values = (value for _, value, _ in sequence if value)
    while chunk := b",".join(islice(values, CHUNK)):
        yield [
            f"{o.customer_id}\t{o.order_id}\t{o.product_name}\t{o.product_category}\t{o.unit_price}\t{o.quantity}"
            f"\t{o.total_price}\t{o.order_timestamp.replace('T', ' ')}"
            for o in decode(b"[%b]" % chunk)
        ]


def send(settings: Settings, orders: Iterable[Message], rows: int, progress: Progress) -> None:
    """These orders, so many, into the topic, every one acknowledged.

    Raises KafkaUnavailable.
    """
    delivery = Delivery(settings, None, Stop(), lambda _: None)
    for message in progress.track(orders, total=rows, description="filling the topic"):
        delivery.send(message)
    delivery.flush()
    if delivery.unsent:
        raise KafkaUnavailable(f"{delivery.unsent:,} orders were not acknowledged: {delivery.last_failure}")


class PacedSender:
    """Sends orders at a steady pace in a thread of its own. `probes` are the ids of every n-th that was sent so far,
    but for the first ones, so many; `done` holds the error if it failed.
    """

    def __init__(self, settings: Settings, orders: Iterable[Message], rate: float, every: int, first: int = 0) -> None:
        self.probes: list[str] = []
        self.every = every
        self.first = first
        self.seconds = 0.0
        self.done = background("sender", lambda: self._send(settings, orders, rate))

    def _send(self, settings: Settings, orders: Iterable[Message], rate: float) -> None:
        # It ends with this method: a client that lives on would make the topic again when it is gone.
        delivery = Delivery(settings, rate, Stop(), lambda _: None)
        started = time.monotonic()
        for number, message in enumerate(paced(iter(orders), rate, delivery.wait)):
            delivery.send(message)
            if number >= self.first and number % self.every == 0:
                assert message[0]
                self.probes.append(message[0].decode())
        self.seconds = time.monotonic() - started
        delivery.flush()


def check(settings: Settings, rows: int, progress: Progress) -> Verdict:
    """Compare the table row by row with the first so many of the sequence."""
    missing = altered = 0
    example = ""
    task = progress.add_task("checking each row", total=rows)
    with Connection(settings) as connection:
        for chunk in lines(islice(messages(), rows)):
            sent = {line.split("\t", 2)[1]: line for line in chunk}
            ids = list(sent)
            found = dict(connection.run("bench_select_lines", (ids[0], ids[-1])).rows)
            if found != sent:
                lost = sent.keys() - found.keys()
                wrong = [order_id for order_id in sent.keys() & found.keys() if sent[order_id] != found[order_id]]
                missing, altered = missing + len(lost), altered + len(wrong)
                example = example or min([*lost, *wrong], default="")
            progress.advance(task, len(chunk))
        extra = int(connection.run("bench_count_rows").rows[0][0]) - (rows - missing)
    progress.remove_task(task)
    return Verdict(rows, missing, altered, extra, example)
