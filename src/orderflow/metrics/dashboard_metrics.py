"""The metrics that the dashboard exports."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from orderflow.insights.monitor import Snapshot
from orderflow.metrics import status_metrics
from orderflow.metrics.endpoint import new_registry


class DashboardMetrics:
    """The metrics of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        snapshot = self._snapshot
        yield from status_metrics.families(snapshot.status)
        available = GaugeMetricFamily(
            "orderflow_available",
            "1 if the component is available: Kafka or MySQL answers, or a sink is active.",
            labels=["component"],
        )
        for name, server in (("kafka", snapshot.kafka), ("database", snapshot.database), ("sink", snapshot.sink)):
            available.add_metric([name], float(server.state == "ok"))
        yield available
        latency = GaugeMetricFamily(
            "orderflow_event_to_table_seconds",
            "Time of recent orders from Kafka's timestamp to the table, by the database's clock.",
            labels=["quantile"],
        )
        if snapshot.latency:
            latency.add_metric(["0.5"], snapshot.latency.p50)
            latency.add_metric(["0.99"], snapshot.latency.p99)
        yield latency
        open_ = GaugeMetricFamily("orderflow_quarantine_open", "Open records in the quarantine.", labels=["reason"])
        for reason, count in ((snapshot.status and snapshot.status.open_by_reason) or {}).items():
            open_.add_metric([reason], count)
        yield open_
        proven = GaugeMetricFamily("orderflow_audit_proven", "1 if the last audit was proven, 0 if it was not.")
        findings = GaugeMetricFamily("orderflow_audit_findings", "Findings of the last audit.")
        ended = GaugeMetricFamily("orderflow_audit_timestamp_seconds", "When the last audit ended.")
        if snapshot.audit:
            proven.add_metric([], float(snapshot.audit.is_proven))
            findings.add_metric([], snapshot.audit.findings)
            ended.add_metric([], snapshot.audit.audited_at.timestamp())
        yield from (proven, findings, ended)


def render(snapshot: Snapshot) -> bytes:
    """The snapshot in Prometheus's text format."""
    registry = new_registry()
    registry.register(DashboardMetrics(snapshot))
    return generate_latest(registry)
