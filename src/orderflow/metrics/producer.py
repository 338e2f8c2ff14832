"""The producer's metrics and health."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from orderflow.metrics.endpoint import Health, new_registry


class ProducerMetrics:
    """The counts that the producer reports once a second.

    The metrics thread does not read the counts from the producer directly, because it could see a count decrease.
    """

    def __init__(self) -> None:
        self.registry = new_registry()
        self.registry.register(self)
        self._health = Health(False, "starting")
        self._sent = self._failed = self._in_flight = 0

    def health(self) -> Health:
        """Ready while Kafka acknowledges messages."""
        return self._health

    def update(self, sent: int, failed: int, in_flight: int, *, waiting: bool) -> None:
        """Set the messages acknowledged, failed and in flight, and whether Kafka has acknowledged nothing for long."""
        self._sent, self._failed, self._in_flight = sent, failed, in_flight
        self._health = Health(not waiting, "waiting" if waiting else "running")

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        yield CounterMetricFamily("orderflow_producer_sent", "Messages that Kafka acknowledged.", self._sent)
        yield CounterMetricFamily(
            "orderflow_producer_failed", "Messages that Kafka refused or did not acknowledge in time.", self._failed
        )
        yield GaugeMetricFamily("orderflow_producer_in_flight", "Messages not yet acknowledged.", self._in_flight)
        yield GaugeMetricFamily(
            "orderflow_producer_waiting",
            "1 while Kafka acknowledges nothing.",
            float(self._health.state == "waiting"),
        )
