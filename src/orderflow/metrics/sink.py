"""The sink's metrics and health."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import accumulate
from pathlib import Path

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric

from orderflow.metrics import status_metrics
from orderflow.metrics.endpoint import Health, new_registry
from orderflow.positions.ledger_status import LedgerStatus
from orderflow.telemetry import transactions
from orderflow.telemetry.query_progress import QueryProgress
from orderflow.telemetry.transactions import LATENCY_BUCKETS, TransactionMetrics

STATES = ("starting", "standby", "running", "waiting")
_READY = {"standby", "running"}
# Upper bounds in seconds. A transaction takes about 10 ms for a few rows and 0.5 s for 20,000 rows.
_DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class SinkMetrics:
    """The sink's state and the metrics of its transactions."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self._health = Health(False, "starting")
        self._status: LedgerStatus | None = None
        self._query: QueryProgress | None = None
        self._latency_counts = [0] * (len(LATENCY_BUCKETS) + 1)
        self._latency_sum = 0.0
        self._quarantined = Counter(
            "orderflow_sink_quarantined", "Records that this sink quarantined.", ["reason"], registry=self.registry
        )
        self._transaction = Histogram(
            "orderflow_sink_transaction_seconds",
            "Duration of a transaction, from decoding to the end of COMMIT, with waits and failed attempts.",
            buckets=_DURATION_BUCKETS,
            registry=self.registry,
        )
        self._step = Histogram(
            "orderflow_sink_step_seconds",
            "Duration of a transaction's step: lock, decode, write, account, commit.",
            ["step"],
            buckets=_DURATION_BUCKETS,
            registry=self.registry,
        )
        self._retries = Counter(
            "orderflow_sink_retries",
            "Failed attempts that were retried, by class of error.",
            ["error"],
            registry=self.registry,
        )
        self.registry.register(self)

    def health(self) -> Health:
        """Ready while the sink stores, or is on standby."""
        return self._health

    def update(
        self, state: str, message: str, status: LedgerStatus | None, error: str, query: QueryProgress | None = None
    ) -> None:
        """Set the state (one of STATES), a message for the user, the current status, the class of the error that is
        being retried ("" for none), and Spark's last micro-batch."""
        self._query = query
        self._health = Health(state in _READY, state, message)
        self._status = status  # even None: an older status may be outdated, because another sink may have continued
        if error:
            self._retries.labels(error).inc()

    def receive_metrics(self, scratch: Path) -> AbstractContextManager[None]:
        """Count the transactions that are sent to this folder while the block runs."""
        return transactions.receive_metrics(scratch, self._add)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        yield from status_metrics.families(self._status)
        state = GaugeMetricFamily(
            "orderflow_sink_state", "1 for the sink's current state, 0 for the others.", labels=["state"]
        )
        for name in STATES:
            state.add_metric([name], float(name == self._health.state))
        yield state
        yield from _collect_micro_batch(self._query)
        bounds = [*map(str, map(float, LATENCY_BUCKETS)), "+Inf"]
        yield HistogramMetricFamily(
            "orderflow_sink_event_to_commit_seconds",
            "Time from a record's timestamp in Kafka to the end of COMMIT, by the sink's clock.",
            buckets=list(zip(bounds, accumulate(self._latency_counts), strict=True)),
            sum_value=self._latency_sum,
        )

    def _add(self, transaction: TransactionMetrics) -> None:
        for reason, count in transaction.quarantined.items():
            self._quarantined.labels(reason).inc(count)
        *steps, contentions = transaction.timing
        for step, seconds in zip(transaction.timing._fields, steps, strict=False):
            self._step.labels(step).observe(seconds)
        self._transaction.observe(sum(steps))
        if contentions:
            self._retries.labels("Contention").inc(contentions)
        self._latency_counts = [
            before + new for before, new in zip(self._latency_counts, transaction.latency_counts, strict=True)
        ]
        self._latency_sum += transaction.latency_sum


def _collect_micro_batch(query: QueryProgress | None) -> Iterator[Metric]:
    """The metrics of Spark's last progress; without progress, metrics without samples."""
    number = GaugeMetricFamily("orderflow_spark_batch_id", "Number of Spark's last micro-batch.", labels=[])
    input_rate = GaugeMetricFamily(
        "orderflow_spark_input_rows_per_second", "Rate at which records arrived, in Spark's last progress.", labels=[]
    )
    processing_rate = GaugeMetricFamily(
        "orderflow_spark_processed_rows_per_second",
        "Rate at which Spark's last micro-batch processed its records.",
        labels=[],
    )
    behind = GaugeMetricFamily(
        "orderflow_spark_offsets_behind", "Lag of the partition furthest behind, in Spark's last progress.", labels=[]
    )
    duration = GaugeMetricFamily(
        "orderflow_spark_batch_duration_seconds", "Duration of Spark's last micro-batch by step.", labels=["step"]
    )
    if query:
        number.add_metric([], query.batch_id)
        input_rate.add_metric([], query.input_rows_per_second)
        processing_rate.add_metric([], query.processed_rows_per_second)
        for step, seconds in query.duration_seconds.items():
            duration.add_metric([step], seconds)
        if query.most_offsets_behind is not None:
            behind.add_metric([], query.most_offsets_behind)
    yield from (number, input_rate, processing_rate, behind, duration)
