"""Messages handed to Kafka, and every one accounted for: acknowledged, failed, or still here."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Report

from orderflow import topic
from orderflow.errors import KafkaUnavailable, OperatorError, OrderFlowError
from orderflow.produce.generator import Message
from orderflow.settings import Settings
from orderflow.topic import TopicInfo

log = logging.getLogger(__name__)

DELIVERY_TIMEOUT = 300.0  # seconds; a broker may be away that long before an order counts as failed
FLUSH_TIMEOUT = 30.0  # seconds from a stop request to giving up on what is not acknowledged
EACH_LOGGED = 10.0  # orders per second up to which each order gets its line
_POLL = 0.1  # seconds that a signal may have to wait
_SHORTEST_POLL = 0.001  # seconds; the client takes less for 0, and the wait would spin


class Stop:
    """A request to stop. As a signal handler: the first signal asks to flush and leave, the second to leave now."""

    def __init__(self) -> None:
        self.requested = False
        self._deadline = math.inf

    def __call__(self, *_: object) -> None:
        self._deadline = 0.0 if self.requested else time.monotonic() + FLUSH_TIMEOUT
        self.requested = True

    def now(self) -> None:
        """Leave without flushing."""
        self.requested, self._deadline = True, 0.0

    @property
    def expired(self) -> bool:
        """Whether the time to flush is over."""
        return time.monotonic() > self._deadline


def connect(settings: Settings) -> TopicInfo:
    """The topic, made if missing, after as many attempts to reach Kafka as the settings allow.

    Raises KafkaUnavailable after the last one; KafkaRefused and TopicMissing at once.
    """
    attempts = settings.kafka_connect_attempts
    for attempt in range(1, attempts + 1):
        try:
            topic.reach(settings)
            return topic.ensure(settings)
        except KafkaUnavailable as error:
            log.warning("Attempt %d of %d: %s", attempt, attempts, error.message)
        if attempt < attempts:
            time.sleep(settings.kafka_connect_wait)
    raise KafkaUnavailable(
        f"Kafka at {settings.kafka_bootstrap_servers} cannot be reached; {attempts} attempts failed.",
        hint="Check that a broker runs there, or set KAFKA_BOOTSTRAP_SERVERS; `orderflow up` starts one.",
    )


class Delivery:
    """One producer: acks=all, idempotent, compressed batches.

    `accepted` counts the messages handed over, `failed` those that Kafka refused or did not take in time. `refusal`
    is the error that ended the run, if one did.
    """

    def __init__(
        self, settings: Settings, rate: float | None, stop: Stop, each_second: Callable[[Delivery], None]
    ) -> None:
        """`rate` is the messages per second to expect, None for as many as possible."""
        self.accepted = self.failed = 0
        self.last_failure = ""
        self.refusal: OrderFlowError | None = None
        self.log_each = rate is not None and rate <= EACH_LOGGED
        self._settings, self._stop, self._each_second = settings, stop, each_second
        self._next_second = time.monotonic() + 1.0
        self._producer = Producer(
            topic.client_config(settings)
            | {
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": settings.kafka_compression,
                # gzip's default level takes twice the time of level 1 and saves a quarter of the bytes (measured).
                **({"compression.level": 1} if settings.kafka_compression == "gzip" else {}),
                # Java's and kafka-python's way: a key has one partition, whichever client sends it.
                "partitioner": "murmur2_random",
                # Partitions added while it sends are used from then on; librdkafka's default is 5 minutes.
                "topic.metadata.refresh.interval.ms": 10_000,
                "linger.ms": 0 if self.log_each else 5,
                "queue.buffering.max.kbytes": 128 * 1024,
                "message.timeout.ms": int(DELIVERY_TIMEOUT * 1000),
                # A report of each success costs 15 % of the top rate (measured), and `sent` does not need it.
                "delivery.report.only.error": not self.log_each,
                "on_delivery": self._reported,
            }
        )

    @property
    def in_flight(self) -> int:
        """Messages handed over and neither acknowledged nor failed."""
        return len(self._producer)

    @property
    def unsent(self) -> int:
        """Messages that Kafka has not acknowledged, whatever the reason."""
        return self.failed + self.in_flight

    @property
    def sent(self) -> int:
        """Messages that Kafka has acknowledged."""
        return self.accepted - self.unsent

    def send(self, message: Message) -> None:
        """Hand over one message. While the local queue is full, waits."""
        key, value, partition = message
        while True:
            try:
                self._producer.produce(self._settings.kafka_topic, value, key, partition)
                break
            except BufferError as error:
                if self._stop.expired:
                    self.failed += 1
                    self.last_failure = f"{_shown(key)}: {error}"
                    break
                self._serve(_POLL)
            except KafkaException as exception:
                self._fail(exception.args[0], key)
                break
        self.accepted += 1
        if not self.accepted & 0xFF:
            self._serve(0)

    def wait(self, seconds: float) -> bool:
        """Serve reports for so long. Returns False at once when a stop is requested."""
        deadline = time.monotonic() + seconds
        while not self._stop.requested and (rest := deadline - time.monotonic()) > 0:
            self._serve(max(_SHORTEST_POLL, min(rest, _POLL)))
        return not self._stop.requested

    def flush(self) -> None:
        """Wait until nothing is in flight; after a stop request for 30 seconds from it at most."""
        while self.in_flight and not self._stop.expired:
            self._serve(_POLL)

    def _serve(self, seconds: float) -> None:
        try:
            self._producer.poll(seconds)
        except KafkaException as exception:  # fatal: this client sends nothing any more
            self.refusal = topic.classify(exception.args[0], self._settings)
            self._stop.now()
        if (now := time.monotonic()) >= self._next_second:
            self._next_second = max(self._next_second, now - 1.0) + 1.0
            self._each_second(self)

    def _reported(self, error: KafkaError | None, report: Report) -> None:
        if error is not None:
            self._fail(error, report.key())
        else:
            where = f"partition {report.partition()}, offset {report.offset()}"
            log.info("Sent %s (%s): %s", _shown(report.key()), where, _shown(report.value()))

    def _fail(self, error: KafkaError, key: str | bytes | None) -> None:
        self.failed += 1
        self.last_failure = f"{_shown(key)}: {error.str()}"
        found = topic.classify(error, self._settings)
        if error.fatal() or isinstance(found, OperatorError):
            self.refusal = found
            self._stop.now()


def _shown(data: str | bytes | None) -> str:
    """At most 300 characters; what is not UTF-8 as escapes."""
    text = data.decode("utf-8", "backslashreplace") if isinstance(data, bytes) else str(data)
    return text if len(text) <= 300 else text[:297] + "..."
