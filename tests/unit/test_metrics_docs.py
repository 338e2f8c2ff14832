"""Metrics, documentation and deploy/ name the same metrics; an unknown value is not exported."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from orderflow.insights.monitor import Monitor
from orderflow.insights.status import Status
from orderflow.metrics.dashboard_metrics import DashboardMetrics
from orderflow.metrics.producer import ProducerMetrics
from orderflow.metrics.sink import SinkMetrics
from orderflow.positions.ledger_status import PartitionStatus
from orderflow.settings import Settings
from tests.support.prometheus import Page

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
    dashboard = CollectorRegistry()
    dashboard.register(DashboardMetrics(Monitor(Settings()).snapshot()))
    registries = {"sink": SinkMetrics().registry, "producer": ProducerMetrics().registry, "dashboard": dashboard}
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


def test_metric_names_have_base_units() -> None:
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


def test_the_grafana_panels_are_in_order_within_the_width() -> None:
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
