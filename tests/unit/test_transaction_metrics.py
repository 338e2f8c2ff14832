"""The metrics that a worker sends for each transaction: exact counts, without waiting for the receiver."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.metrics.sink import SinkMetrics
from orderflow.store.commit_result import CommitResult, Timing
from orderflow.store.record_batch import RecordBatch
from orderflow.telemetry import transactions
from orderflow.telemetry.transactions import LATENCY_BUCKETS, TransactionMetrics
from tests.support.processes import until


@given(latencies=st.lists(st.floats(-5, 400), min_size=1, max_size=50), without_time=st.integers(0, 3))
def test_each_record_is_in_the_bucket_of_its_latency(latencies: list[float], without_time: int) -> None:
    now = time.time()
    measured = transactions.measure(
        RecordBatch([], [], [-1] * without_time + [int((now - latency) * 1000) for latency in latencies], [], []),
        CommitResult(stored=len(latencies) + without_time - 1, quarantined=Counter(conflict=1)),
        Timing(1, 1, 1, 1, 1),
        now,
    )
    rounded = [now - int((now - latency) * 1000) / 1000 for latency in latencies]
    edges = [float("-inf"), *LATENCY_BUCKETS, float("inf")]
    for count, above, upto in zip(measured.latency_counts, edges, edges[1:], strict=False):
        near = [latency for latency in rounded if abs(latency - above) < 1e-6 or abs(latency - upto) < 1e-6]
        assert abs(count - sum(above < latency <= upto for latency in rounded)) <= len(near)
    assert sum(measured.latency_counts) == len(latencies)
    assert measured.latency_sum == pytest.approx(max(0, sum(rounded)), abs=0.01 * len(latencies))


def test_records_of_an_earlier_transaction_are_measured_once() -> None:
    now = time.time()
    timestamps = [int((now - age) * 1000) for age in (100.0, 90.0, 0.01)]
    batch = RecordBatch([0, 0, 0], [7, 8, 9], timestamps, [], [])
    measured = transactions.measure(batch, CommitResult(stored=1), Timing(1, 1, 1, 1, 1), now)
    assert measured.latency_counts == [1, *[0] * len(LATENCY_BUCKETS)]
    assert measured.latency_sum < 1


def test_sending_does_not_wait_for_a_slow_or_absent_receiver(tmp_path: Path) -> None:
    batch, committed, timing = (
        RecordBatch([], [], [0], [], []),
        CommitResult(),
        Timing(0.1, 0.1, 0.1, 0.1, 0.1, contentions=2),
    )
    transactions.send_metrics(tmp_path, batch, committed, timing)
    received: list[TransactionMetrics] = []

    def receive(measured: TransactionMetrics) -> None:
        received.append(measured)
        until(lambda: len(received) < 2 or not is_slow)

    is_slow = True
    with transactions.receive_metrics(tmp_path, receive):
        started_at = time.monotonic()
        for _ in range(2_000):
            transactions.send_metrics(tmp_path, batch, committed, timing)
        transactions.send_metrics(tmp_path, batch, committed, None)
        assert time.monotonic() - started_at < 10
        is_slow = False
        until(lambda: len(received) > 2)
    assert len(received) <= 2_000 and received[0].timing == timing


def test_a_folder_without_room_for_a_socket_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    with SinkMetrics().receive_metrics(folder):
        transactions.send_metrics(folder, RecordBatch([], [], [0], [], []), CommitResult(), Timing(1, 1, 1, 1, 1))
    assert "Transaction metrics are not available" in caplog.text
