"""`orderflow produce`."""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow.cli import context, logs
from orderflow.plurals import counted

if TYPE_CHECKING:
    from orderflow.produce.delivery import OrderProducer
    from orderflow.produce.generator import Generator
    from orderflow.produce.outgoing_message import OutgoingMessage
    from orderflow.produce.watch import ProducerProgress
    from orderflow.settings import Settings

LOG_FILE = Path("kafka_producer.log")
log = logging.getLogger(__name__)


def produce(
    *,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            show_default=False,
            help="Messages per second; 0: no limit. Default: one every PRODUCTION_INTERVAL seconds, or no limit with"
            " --count or --file.",
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many messages of any kind.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the generator: the same seed gives the same orders with other times."),
    ] = None,
    bad: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Share of messages that break the contract.")
    ] = 0.0,
    repeat: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Share of messages that repeat a recent order exactly.")
    ] = 0.0,
    file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Send the orders of a .jsonl, .ndjson or .csv file instead.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per second, and a last one with the counts.")
    ] = False,
    log_format: logs.Format = None,
) -> None:
    """Send orders to Kafka: generated ones from a catalogue, or your own from a file.

    Order numbers continue after the highest in the topic, or start at STARTING_ORDER_ID. With a contract file
    (ORDER_CONTRACT), the generator fills custom fields with their `values` or `examples`.

    `--bad` sends malformed messages of some fifty kinds in turn, from truncated JSON to a date that does not exist.
    With a contract file, it sends only the kinds that do not depend on its fields. Each malformed message uses an order
    number, except a conflict, which is a recent order with other content. `--repeat` sends recent orders again, half of
    them to a random partition.

    `--file` sends each line of a .jsonl or .ndjson file unchanged. It sends each row of a .csv file (RFC 4180) as a
    JSON object, with the numbers as written. The header of the .csv file has the names of the contract's fields, or
    their keys in the message. If the file is not valid CSV, nothing is sent, and the error names the line. The contract
    is not checked here: the sink quarantines what breaks it.

    The first Ctrl-C waits up to 30 seconds for Kafka to acknowledge what was sent; a second one exits at once. While no
    broker is available, a message is retried for up to 5 minutes. Log lines also go to kafka_producer.log.

    Exit codes: 0 Kafka acknowledged everything; 1 it did not, and the message has the number; 2 it cannot start or
    continue.

    Examples:

    - `orderflow produce`
    - `orderflow produce --rate 1000`
    - `orderflow produce --count 100000 --seed 1 --bad 0.01 --repeat 0.01`
    - `orderflow produce --file orders.csv`
    """
    from rich.progress import Progress

    from orderflow import extras
    from orderflow.contract import loader
    from orderflow.metrics.endpoint import serving
    from orderflow.metrics.producer import ProducerMetrics
    from orderflow.produce import contract_orders, files, numbering
    from orderflow.produce.delivery import connect_and_ensure_topic
    from orderflow.produce.generator import Generator

    if bad + repeat > 1:
        raise typer.BadParameter(f"--bad {bad:g} and --repeat {repeat:g} add up to more than 1")
    if file and (count or bad or repeat or seed is not None):
        raise typer.BadParameter("--file cannot be combined with --count, --seed, --bad or --repeat")
    settings = context.load()
    contract = loader.contract_of(settings)
    if settings.producer_metrics_port:
        extras.require("dashboard", instead="set PRODUCER_METRICS_PORT to 0")
    logs.setup(LOG_FILE)
    metrics = ProducerMetrics()

    def on_progress(reported: ProducerProgress) -> None:
        metrics.update(reported.sent, reported.failed, reported.in_flight, waiting=reported.waiting)
        if as_json:
            _print_json(reported)

    if rate is None and not count and not file and settings.production_interval:
        rate = 1 / settings.production_interval
    generator: Generator | None = None
    with (
        serving(settings, "producer_metrics_port", metrics),
        Progress(console=logs.console(), disable=not logs.console().is_terminal, transient=True) as progress,
    ):
        if file:
            messages = files.read_messages(file, progress, contract)  # before connecting: a wrong path fails at once
            connect_and_ensure_topic(settings)
        else:
            contract_orders.check(contract)
            topic_info = connect_and_ensure_topic(settings)
            start = settings.starting_order_id or numbering.next_number(settings, topic_info, progress)
            generator = Generator(
                start,
                seed=seed,
                bad_share=bad,
                repeat_share=repeat,
                partitions=len(topic_info.partitions),
                contract=contract,
            )
            messages = iter(generator)
        log.info("Sending to %s at %s", settings.kafka_topic, settings.kafka_bootstrap_servers)
        started_at = time.monotonic()
        producer = _send(messages, count, settings, rate or None, on_progress)
    _print_result(producer, time.monotonic() - started_at, generator, as_json)
    if producer.fatal_error:
        raise producer.fatal_error
    if producer.unsent:
        raise typer.Exit(1)


def _send(
    messages: Iterator[OutgoingMessage],
    count: int | None,
    settings: Settings,
    rate: float | None,
    on_progress: Callable[[ProducerProgress], None],
) -> OrderProducer:
    """Send `count` of them, or all, unless a signal stops it."""
    from orderflow.produce.delivery import FLUSH_TIMEOUT, OrderProducer, StopRequest
    from orderflow.produce.pace import paced
    from orderflow.produce.watch import DeliveryWatch

    stop = StopRequest()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    watch = DeliveryWatch(on_progress)
    producer = OrderProducer(settings, rate, stop, watch)
    try:
        for message in paced(messages, rate, producer.wait) if rate else messages:
            producer.send(message)
            if stop.requested or producer.enqueued == count:
                break
    finally:
        if stop.requested and producer.in_flight:
            log.info(
                "Stopping: %d in flight, waiting %.0f s at most; Ctrl-C again exits at once",
                producer.in_flight,
                FLUSH_TIMEOUT,
            )
        producer.flush()
        watch(producer)
        if producer.unsent:
            log.error("%d not sent: %d failed, %d unacknowledged", producer.unsent, producer.failed, producer.in_flight)
    return producer


def _print_result(producer: OrderProducer, seconds: float, generator: Generator | None, as_json: bool) -> None:
    from orderflow.produce.watch import ProducerProgress

    per_second = producer.sent / seconds
    counts: dict[str, int] = {}  # by kind of message
    if generator:
        counts = {"good": generator.good_count, "bad": generator.bad_count, "repeated": generator.repeat_count}
    if as_json:
        total = ProducerProgress(producer.sent, producer.failed, producer.in_flight, round(per_second, 1))
        _print_json(total, done=True, **counts)
        return
    by_kind = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    sent = counted(producer.sent, "message")
    print(f"Sent {sent} in {seconds:,.1f} s, {per_second:,.1f} per second{by_kind and f': {by_kind}'}.")


def _print_json(reported: ProducerProgress, **counts: int) -> None:
    print(json.dumps(reported._asdict() | counts), flush=True)
