"""The sink's metrics and health."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import accumulate
from pathlib import Path

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric

from orderflow.insights.status import Status
from orderflow.metrics import flow, transactions
from orderflow.metrics.server import Health, new_registry
from orderflow.metrics.transactions import LATENCY_BUCKETS, Transaction

STATES = ("starting", "standby", "running", "waiting")
_READY = {"standby", "running"}
# A transaction takes some 10 ms for a few rows, half a second for 20,000, and longer where the database is slow.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class SinkMetrics:
    """What the sink says of itself, and what is told of its transactions."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self._health = Health(False, "starting")
        self._status: Status | None = None
        self._late = [0] * (len(LATENCY_BUCKETS) + 1)
        self._late_sum = 0.0
        self._quarantined = Counter(
            "orderflow_sink_quarantined", "Records this sink quarantined.", ["reason"], registry=self.registry
        )
        self._transaction = Histogram(
            "orderflow_sink_transaction_seconds",
            "Duration of a transaction, from the ledger's lock to the end of COMMIT.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._step = Histogram(
            "orderflow_sink_step_seconds",
            "Duration of a transaction's step: lock, decode, write, account, commit.",
            ["step"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._retries = Counter(
            "orderflow_sink_retries",
            "Attempts that failed and were repeated, by the class of error.",
            ["error"],
            registry=self.registry,
        )
        self.registry.register(self)

    def health(self) -> Health:
        """Ready: it stores, or stands by to take over."""
        return self._health

    def show(self, state: str, message: str, status: Status | None, error: str) -> None:
        """The sink's own words: one of STATES, the status of this look, the class of the error that is waited out."""
        self._health = Health(state in _READY, state, message)
        self._status = status  # not that of before: another sink may have gone on meanwhile
        if error:
            self._retries.labels(error).inc()

    def listen(self, scratch: Path) -> AbstractContextManager[None]:
        """Count what is told of transactions in this folder."""
        return transactions.heard(scratch, self._add)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        yield from flow.families(self._status)
        state = GaugeMetricFamily("orderflow_sink_state", "1 for the state the sink is in.", labels=["state"])
        for name in STATES:
            state.add_metric([name], float(name == self._health.state))
        yield state
        bounds = [*map(str, map(float, LATENCY_BUCKETS)), "+Inf"]
        yield HistogramMetricFamily(
            "orderflow_sink_event_to_commit_seconds",
            "From a record's timestamp in Kafka to the end of COMMIT, by the sink's clock.",
            buckets=list(zip(bounds, accumulate(self._late), strict=True)),
            sum_value=self._late_sum,
        )

    def _add(self, told: Transaction) -> None:
        for reason, count in told.quarantined.items():
            self._quarantined.labels(reason).inc(count)
        *steps, contentions = told.timing
        for step, seconds in zip(told.timing._fields, steps, strict=False):
            self._step.labels(step).observe(seconds)
        self._transaction.observe(sum(steps))
        if contentions:
            self._retries.labels("Contention").inc(contentions)
        self._late = [before + new for before, new in zip(self._late, told.late, strict=True)]
        self._late_sum += told.late_sum
