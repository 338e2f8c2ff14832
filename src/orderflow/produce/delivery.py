"""Sends messages to Kafka and counts each as acknowledged, failed or in flight."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as DeliveryReport

from orderflow import topic
from orderflow.errors import KafkaUnavailable, OperatorError, OrderFlowError
from orderflow.plurals import counted
from orderflow.produce.outgoing_message import OutgoingMessage
from orderflow.settings import Settings
from orderflow.topic import TopicInfo

log = logging.getLogger(__name__)

DELIVERY_TIMEOUT = 300.0  # seconds without an acknowledgement until a message counts as failed
FLUSH_TIMEOUT = 30.0  # seconds from the stop request that a flush waits for acknowledgements
LOG_EACH_RATE = 10.0  # messages per second; up to this rate each message is logged
_POLL_EVERY = 256  # messages between two polls for delivery reports
_POLL_INTERVAL = 0.1  # seconds; Python handles a signal only between two polls
_MIN_POLL = 0.001  # seconds; librdkafka rounds less than this to 0, which would be a busy loop


class StopRequest:
    """A request to stop, usable as a signal handler: the first signal allows a flush, the second skips it."""

    def __init__(self) -> None:
        self.requested = False
        self._deadline = math.inf

    def __call__(self, *_: object) -> None:
        self._deadline = 0.0 if self.requested else time.monotonic() + FLUSH_TIMEOUT
        self.requested = True

    def skip_flush(self) -> None:
        """Stop without a flush."""
        self.requested, self._deadline = True, 0.0

    @property
    def is_flush_expired(self) -> bool:
        """Whether the time for a flush is over."""
        return time.monotonic() > self._deadline


def connect_and_ensure_topic(settings: Settings) -> TopicInfo:
    """Connect to Kafka with retries, create the topic if it is missing, and return it.

    `kafka_connect_attempts` and `kafka_connect_wait` (seconds) control the retries. Raises KafkaUnavailable after the
    last attempt; KafkaRefused and TopicMissing are not retried.
    """
    attempts = settings.kafka_connect_attempts
    for attempt in range(1, attempts + 1):
        try:
            topic.check_connection(settings)
            return topic.get_or_create(settings)
        except KafkaUnavailable as error:
            log.warning("Attempt %d of %d: %s", attempt, attempts, error.message)
        if attempt < attempts:
            time.sleep(settings.kafka_connect_wait)
    raise KafkaUnavailable(
        f"Kafka at {settings.kafka_bootstrap_servers} cannot be reached; {counted(attempts, 'attempt')} failed.",
        hint="Check that a broker runs there, or set KAFKA_BOOTSTRAP_SERVERS; `orderflow up` starts one.",
    )


class OrderProducer:
    """A Kafka producer with acks=all, idempotence and compression.

    `enqueued` counts the messages passed to `send`. `failed` counts those that Kafka refused or did not acknowledge
    within DELIVERY_TIMEOUT. `fatal_error` is the error that ended the run, or None.
    """

    def __init__(
        self, settings: Settings, rate: float | None, stop: StopRequest, watch: Callable[[OrderProducer], None]
    ) -> None:
        """`rate` is the expected number of messages per second, or None for no limit."""
        self.enqueued = self.failed = 0
        self.last_failure = ""
        self.fatal_error: OrderFlowError | None = None
        self.log_each = rate is not None and rate <= LOG_EACH_RATE
        self._settings, self._stop, self._watch = settings, stop, watch
        self._next_second = time.monotonic() + 1.0
        self._producer = Producer(
            topic.client_config(settings)
            | {
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": settings.kafka_compression,
                # gzip's default level takes twice the time of level 1 and saves 25 % of the bytes (measured).
                **({"compression.level": 1} if settings.kafka_compression == "gzip" else {}),
                # The partitioner of the Java client and kafka-python: all clients send a key to the same partition.
                "partitioner": "murmur2_random",
                # Partitions added during a run are used within 10 s; librdkafka's default is 5 minutes.
                "topic.metadata.refresh.interval.ms": 10_000,
                "linger.ms": 0 if self.log_each else 5,
                "queue.buffering.max.kbytes": 128 * 1024,
                "message.timeout.ms": int(DELIVERY_TIMEOUT * 1000),
                # A report of each success reduces the maximum rate by 15 % (measured); `sent` does not need it.
                "delivery.report.only.error": not self.log_each,
                "on_delivery": self._on_delivery,
            }
        )

    @property
    def in_flight(self) -> int:
        """Messages that are neither acknowledged nor failed."""
        return len(self._producer)

    @property
    def unsent(self) -> int:
        """Messages that Kafka has not acknowledged: failed or in flight."""
        return self.failed + self.in_flight

    @property
    def sent(self) -> int:
        """Messages that Kafka has acknowledged."""
        return self.enqueued - self.unsent

    def send(self, message: OutgoingMessage) -> None:
        """Enqueue one message; wait while the local queue is full."""
        key, value, partition = message
        while True:
            try:
                self._producer.produce(self._settings.kafka_topic, value, key, partition)
                break
            except BufferError as error:
                if self._stop.is_flush_expired:
                    self.failed += 1
                    self.last_failure = f"{_printable(key)}: {error}"
                    break
                self._poll(_POLL_INTERVAL)
            except KafkaException as exception:
                self._fail(exception.args[0], key)
                break
        self.enqueued += 1
        if self.enqueued % _POLL_EVERY == 0:
            self._poll(0)

    def wait(self, seconds: float) -> bool:
        """Process delivery reports for this time. Returns False as soon as a stop is requested, otherwise True."""
        deadline = time.monotonic() + seconds
        while not self._stop.requested and (remaining := deadline - time.monotonic()) > 0:
            self._poll(max(_MIN_POLL, min(remaining, _POLL_INTERVAL)))
        return not self._stop.requested

    def flush(self) -> None:
        """Wait until no message is in flight; after a stop request, for FLUSH_TIMEOUT at most."""
        while self.in_flight and not self._stop.is_flush_expired:
            self._poll(_POLL_INTERVAL)

    def _poll(self, seconds: float) -> None:
        try:
            self._producer.poll(seconds)
        except KafkaException as exception:  # fatal: this client cannot send any more
            self.fatal_error = topic.classify(exception.args[0], self._settings)
            self._stop.skip_flush()
        if (now := time.monotonic()) >= self._next_second:
            self._next_second = max(self._next_second, now - 1.0) + 1.0
            self._watch(self)

    def _on_delivery(self, error: KafkaError | None, report: DeliveryReport) -> None:
        if error is not None:
            self._fail(error, report.key())
        else:
            coordinates = f"partition {report.partition()}, offset {report.offset()}"
            log.info("Sent %s (%s): %s", _printable(report.key()), coordinates, _printable(report.value()))

    def _fail(self, error: KafkaError, key: str | bytes | None) -> None:
        self.failed += 1
        self.last_failure = f"{_printable(key)}: {error.str()}"
        classified = topic.classify(error, self._settings)
        if error.fatal() or isinstance(classified, OperatorError):
            self.fatal_error = classified
            self._stop.skip_flush()


def _printable(data: str | bytes | None) -> str:
    """At most 300 characters; bytes that are not UTF-8 are escaped."""
    text = data.decode("utf-8", "backslashreplace") if isinstance(data, bytes) else str(data)
    return text if len(text) <= 300 else text[:297] + "..."
