"""The facts of tables and topic, as metrics: the same from the sink and from the dashboard."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from orderflow.insights.status import Status


def families(status: Status | None) -> Iterator[Metric]:
    """What the status says; while none is known yet, the names alone. What Kafka would have to say may be missing."""
    stored = CounterMetricFamily("orderflow_stored", "Records stored as orders, by the ledger.", labels=["topic"])
    duplicates = CounterMetricFamily(
        "orderflow_duplicates", "Records that repeat a stored order, by the ledger.", labels=["topic"]
    )
    quarantined = CounterMetricFamily(
        "orderflow_quarantined", "Records that were quarantined, by the ledger.", labels=["topic"]
    )
    unknown = CounterMetricFamily(
        "orderflow_unknown_fields", "Fields seen that the contract does not know.", labels=["topic"]
    )
    moved = GaugeMetricFamily(
        "orderflow_ledger_moved_timestamp_seconds", "When the ledger last moved.", labels=["topic"]
    )
    labels = ["topic", "partition"]
    position = GaugeMetricFamily("orderflow_ledger_offset", "The ledger's next offset.", labels=labels)
    end = GaugeMetricFamily("orderflow_topic_end_offset", "The offset that the next record gets.", labels=labels)
    lag = GaugeMetricFamily("orderflow_lag_records", "Records of the topic that are not accounted for.", labels=labels)
    if status:
        stored.add_metric([status.topic], status.stored)
        duplicates.add_metric([status.topic], status.duplicates)
        quarantined.add_metric([status.topic], status.quarantined)
        unknown.add_metric([status.topic], status.unknown_fields)
        if status.accounted_at:
            moved.add_metric([status.topic], status.accounted_at.timestamp())
        for part in status.partitions:
            where = [status.topic, str(part.partition)]
            position.add_metric(where, part.next_offset)
            if part.end is not None and part.lag is not None:
                end.add_metric(where, part.end)
                lag.add_metric(where, part.lag)
    yield from (stored, duplicates, quarantined, unknown, moved, position, end, lag)
