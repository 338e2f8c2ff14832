"""The docs list exactly the exported metrics, and deploy/ uses only these. Counting is exact."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from orderflow.embedded.ports import free_port
from orderflow.errors import SettingInvalid
from orderflow.insights.monitor import Monitor
from orderflow.insights.status import Status
from orderflow.ledger_status import PartitionStatus
from orderflow.metrics import transactions
from orderflow.metrics.endpoint import serving
from orderflow.metrics.producer import ProducerMetrics
from orderflow.metrics.sink import SinkMetrics
from orderflow.metrics.transactions import LATENCY_BUCKETS, Transaction
from orderflow.metrics.viewer import ViewerMetrics
from orderflow.settings import Settings
from orderflow.store.commit_result import CommitResult, Timing
from orderflow.store.record_batch import RecordBatch
from tests.support.processes import until
from tests.support.prometheus import Page, get

ROOT = Path(__file__).parents[2]
STATUS = Status(
    topic="orders",
    stored=10,
    duplicates=2,
    quarantined=1,
    unknown_fields=3,
    lag=None,
    lag_unknown_because="Kafka does not answer.",
    partitions=(
        PartitionStatus(partition=0, next_offset=13, end=20, lag=7),
        PartitionStatus(partition=1, next_offset=5, end=None, lag=None),
    ),
    updated_at=datetime(2025, 1, 15, tzinfo=UTC),
    newest_order=None,
    newest_age_seconds=None,
)


def exported() -> dict[tuple[str, str, str], set[str]]:
    """Return (name, type, help) of every metric, and the commands that export it."""
    viewer = CollectorRegistry()
    viewer.register(ViewerMetrics(Monitor(Settings()).snapshot()))
    registries = {"sink": SinkMetrics().registry, "producer": ProducerMetrics().registry, "dashboard": viewer}
    commands_by_metric: dict[tuple[str, str, str], set[str]] = {}
    for command, registry in registries.items():
        for family in registry.collect():
            if family.name.startswith("orderflow_"):
                name = f"{family.name}_total" if family.type == "counter" else family.name
                commands_by_metric.setdefault((name, family.type, family.documentation), set()).add(command)
    return commands_by_metric


def test_the_docs_list_what_is_exported() -> None:
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(orderflow_\w+)` \| (\w+) \| .*? \| .*? \| (.+?) \| (.+) \|$", page, re.MULTILINE)
    listed = {(name, kind, text): set(by.split(", ")) for name, kind, by, text in rows}
    assert len(listed) == len(rows)
    assert listed == exported()


def test_names_have_base_units() -> None:
    for name, kind, text in exported():
        assert re.fullmatch(r"orderflow_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert not re.search(r"_(ms|millis|minutes|kb|percent)", name) and text.endswith(".")


@pytest.mark.parametrize("path", ["deploy/prometheus/alerts.yml", "deploy/grafana/orderflow.json", "docs/metrics.md"])
def test_shipped_files_use_only_exported_metrics(path: str) -> None:
    known = {name for name, *_ in exported()}
    known |= {
        f"{name}_{part}" for name, kind, _ in exported() if kind == "histogram" for part in ("bucket", "sum", "count")
    }
    named = set(re.findall(r"\borderflow_[a-z_]*[a-z]\b", (ROOT / path).read_text("utf-8")))
    assert named and named <= known


def test_every_alert_is_explained() -> None:
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "deploy/prometheus/alerts.yml").read_text())
    explained = re.findall(r"^\| (OrderFlow\w+) \|", (ROOT / "docs/metrics.md").read_text("utf-8"), re.MULTILINE)
    assert alerts == explained


def test_the_board_fits_grafana() -> None:
    board = json.loads((ROOT / "deploy/grafana/orderflow.json").read_text("utf-8"))
    positions = [
        (position["y"], position["x"], position["w"]) for panel in board["panels"] for position in [panel["gridPos"]]
    ]
    assert positions == sorted(positions) and all(x + width <= 24 for _, x, width in positions)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_unknown_values_are_not_exported() -> None:
    metrics = SinkMetrics()
    assert Page(generate_latest(metrics.registry).decode()).value("orderflow_stored_total") is None
    metrics.update("running", "", STATUS, "")
    exported_page = Page(generate_latest(metrics.registry).decode())
    assert exported_page.value("orderflow_stored_total", topic="orders") == 10
    assert exported_page.by("orderflow_ledger_offset", "partition") == {"0": 13, "1": 5}
    assert exported_page.by("orderflow_lag_records", "partition") == {"0": 7}
    metrics.update("waiting", "MySQL is away", None, "DatabaseUnavailable")
    exported_page = Page(generate_latest(metrics.registry).decode())
    assert (
        exported_page.value("orderflow_stored_total") is None and exported_page.value("orderflow_lag_records") is None
    )
    assert exported_page.by("orderflow_sink_retries_total", "error") == {"DatabaseUnavailable": 1}
    assert exported_page.value("orderflow_sink_state", state="waiting") == 1
    assert metrics.health() == (False, "waiting", "MySQL is away")
    assert not [name for name in exported_page.families if name.endswith("_created")]


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
    received: list[Transaction] = []

    def receive(measured: Transaction) -> None:
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


@cache
def _settings_with_port() -> Settings:
    return Settings(producer_metrics_port=free_port())


def test_a_port_in_use_and_a_foreign_address_are_reported() -> None:
    with (
        serving(_settings_with_port(), "producer_metrics_port", ProducerMetrics()),
        pytest.raises(SettingInvalid, match=r"Metrics cannot be served on 127\.0\.0\.1:\d+: .*in use\.") as refused,
        serving(_settings_with_port(), "producer_metrics_port", ProducerMetrics()),
    ):
        pass
    assert "PRODUCER_METRICS_PORT" in refused.value.hint
    elsewhere = Settings(metrics_host="192.0.2.1", sink_metrics_port=1)
    with (
        pytest.raises(SettingInvalid, match=r"192\.0\.2\.1"),
        serving(elsewhere, "sink_metrics_port", SinkMetrics()),
    ):
        pass


def test_the_endpoint_listens_on_ipv6_until_the_block_ends() -> None:
    settings = Settings(metrics_host="::1", producer_metrics_port=_settings_with_port().producer_metrics_port)
    address = f"http://[::1]:{settings.producer_metrics_port}"
    with serving(settings, "producer_metrics_port", ProducerMetrics()):
        assert get(f"{address}/live")[0] == 200
        assert get(f"{address}/ready")[0] == 503
        assert "orderflow_producer_sent_total 0.0" in get(f"{address}/metrics?")[1]
        odd = get(f"{address}/metrics", Accept="application/openmetrics-text; version=abc")
        assert odd[0] == 200 and "orderflow_producer_sent_total 0.0" in odd[1]
    assert get(f"{address}/live")[0] == 0


def test_nothing_is_served_unless_it_is_configured(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing could listen on this address, as the test above shows."""
    caplog.set_level("INFO")
    with serving(Settings(metrics_host="192.0.2.1"), "sink_metrics_port", SinkMetrics()):
        assert "Metrics at" not in caplog.text
