"""Metrics of the tables and the topic, exported by the sink and by the dashboard."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from orderflow.positions.ledger_status import LedgerStatus


def families(status: LedgerStatus | None) -> Iterator[Metric]:
    """The metrics of a status; without samples if it is None, without end offsets and lag if Kafka is unavailable."""
    stored = CounterMetricFamily("orderflow_stored", "Records stored as orders, by the ledger.", labels=["topic"])
    duplicates = CounterMetricFamily(
        "orderflow_duplicates", "Records that repeat a stored order, by the ledger.", labels=["topic"]
    )
    quarantined = CounterMetricFamily(
        "orderflow_quarantined", "Records that were quarantined, by the ledger.", labels=["topic"]
    )
    unknown = CounterMetricFamily(
        "orderflow_unknown_fields", "Fields that are not in the contract, by the ledger.", labels=["topic"]
    )
    updated = GaugeMetricFamily(
        "orderflow_ledger_moved_timestamp_seconds", "When the ledger was last updated.", labels=["topic"]
    )
    labels = ["topic", "partition"]
    position = GaugeMetricFamily("orderflow_ledger_offset", "The ledger's next offset.", labels=labels)
    end = GaugeMetricFamily("orderflow_topic_end_offset", "The offset of the topic's next record.", labels=labels)
    lag = GaugeMetricFamily(
        "orderflow_lag_records", "Offsets of the topic that are not yet accounted for.", labels=labels
    )
    if status:
        stored.add_metric([status.topic], status.stored)
        duplicates.add_metric([status.topic], status.duplicates)
        quarantined.add_metric([status.topic], status.quarantined)
        unknown.add_metric([status.topic], status.unknown_fields)
        if status.updated_at:
            updated.add_metric([status.topic], status.updated_at.timestamp())
        for partition in status.partitions:
            values = [status.topic, str(partition.partition)]
            position.add_metric(values, partition.next_offset)
            if partition.end is not None and partition.lag is not None:
                end.add_metric(values, partition.end)
                lag.add_metric(values, partition.lag)
    yield from (stored, duplicates, quarantined, unknown, updated, position, end, lag)
