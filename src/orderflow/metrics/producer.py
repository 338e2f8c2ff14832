"""The producer's metrics and health."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from orderflow.metrics.server import Health, new_registry


class ProducerMetrics:
    """What the producer last said of itself, once a second: a look of another thread could see a count go back."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self.registry.register(self)
        self._health = Health(False, "starting")
        self._sent = self._failed = self._in_flight = 0

    def health(self) -> Health:
        """Ready: it sends, and Kafka acknowledges."""
        return self._health

    def show(self, sent: int, failed: int, in_flight: int, *, waiting: bool) -> None:
        """Messages acknowledged, failed, and neither; whether Kafka has been silent for long."""
        self._sent, self._failed, self._in_flight = sent, failed, in_flight
        self._health = Health(not waiting, "waiting" if waiting else "running")

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        yield CounterMetricFamily("orderflow_producer_sent", "Messages that Kafka acknowledged.", self._sent)
        yield CounterMetricFamily("orderflow_producer_failed", "Messages that Kafka never took.", self._failed)
        yield GaugeMetricFamily("orderflow_producer_in_flight", "Messages not yet acknowledged.", self._in_flight)
        yield GaugeMetricFamily(
            "orderflow_producer_waiting",
            "1 while Kafka acknowledges nothing.",
            float(self._health.state == "waiting"),
        )
