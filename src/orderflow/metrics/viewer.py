"""What the read side knows, as a page of metrics: the dashboard's."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from orderflow.insights.monitor import Snapshot
from orderflow.metrics import flow
from orderflow.metrics.server import new_registry


class ViewerMetrics:
    """A snapshot's metrics."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        found = self._snapshot
        yield from flow.families(found.status)
        available = GaugeMetricFamily(
            "orderflow_available", "1 if Kafka or MySQL answers, or a sink is active.", labels=["component"]
        )
        for name, part in (("kafka", found.kafka), ("database", found.database), ("sink", found.sink)):
            available.add_metric([name], float(part.state == "ok"))
        yield available
        latency = GaugeMetricFamily(
            "orderflow_event_to_table_seconds",
            "From Kafka's timestamp to the table, of recent orders, by the database's clock.",
            labels=["quantile"],
        )
        if found.latency:
            latency.add_metric(["0.5"], found.latency.p50)
            latency.add_metric(["0.99"], found.latency.p99)
        yield latency
        open_ = GaugeMetricFamily("orderflow_quarantine_open", "Open records of the quarantine.", labels=["reason"])
        for reason, count in ((found.status and found.status.open_by_reason) or {}).items():
            open_.add_metric([reason], count)
        yield open_
        proven = GaugeMetricFamily("orderflow_audit_proven", "1 if the last audit proved everything, 0 if it did not.")
        findings = GaugeMetricFamily("orderflow_audit_findings", "Differences that the last audit found.")
        ended = GaugeMetricFamily("orderflow_audit_timestamp_seconds", "When the last audit ended.")
        if found.audit:
            proven.add_metric([], float(found.audit.proven))
            findings.add_metric([], found.audit.findings)
            ended.add_metric([], found.audit.audited_at.timestamp())
        yield from (proven, findings, ended)


def page(snapshot: Snapshot) -> bytes:
    """In the form that Prometheus reads."""
    registry = new_registry()
    registry.register(ViewerMetrics(snapshot))
    return generate_latest(registry)
