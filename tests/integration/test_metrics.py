"""Metrics and health endpoints of the real commands, as Prometheus and orchestrators use them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from orderflow import topic as topics
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import Process
from orderflow.settings import Settings
from tests.support.processes import has_logged, run, running, until
from tests.support.prometheus import get, page, program, query
from tests.support.sql import execute, select

DEPLOY = Path(__file__).parents[2] / "deploy"
TOKEN = "a token of more than 16"


@pytest.fixture
def flow(mysql_server: Settings, kafka: str, topic: str) -> Iterator[Settings]:
    settings = msgspec.structs.replace(
        mysql_server,
        kafka_bootstrap_servers=kafka,
        kafka_topic=topic,
        mysql_database=topic.replace("-", "_"),
        sink_metrics_port=free_port(),
        producer_metrics_port=free_port(),
        dashboard_port=free_port(),
        dashboard_token=TOKEN,
    )
    topics.get_or_create(settings)
    yield settings
    execute(settings, f"DROP DATABASE {settings.mysql_database}")


def health(port: int) -> tuple[int, int, dict[str, Any]]:
    """Return the answers of /live and /ready."""
    status, text = get(f"http://127.0.0.1:{port}/ready")
    return get(f"http://127.0.0.1:{port}/live")[0], status, json.loads(text or "{}")


@pytest.mark.parametrize("engine", ["direct", "spark"])
def test_the_sinks_metrics_agree_with_the_tables(flow: Settings, tmp_path: Path, engine: str) -> None:
    sent = run(flow, "produce", "--count", "3000", "--bad", "0.05", "--repeat", "0.02", "--seed", "1", cwd=tmp_path)
    assert sent.returncode == 0, sent.stderr
    port = flow.sink_metrics_port
    with running(flow, "sink", "--engine", engine, folder=tmp_path, name="sink") as sink:
        until(lambda: page(port).value("orderflow_ledger_offset") == 3000, sink)
        if engine == "spark":
            workers = _workers(sink.identity[0])
            assert workers
            for worker in workers:
                worker.kill()
            assert run(flow, "produce", "--count", "100", cwd=tmp_path).returncode == 0
            until(lambda: page(port).value("orderflow_ledger_offset") == 3100, sink)
        metrics = page(port)
        live, status, readiness = health(port)
        assert (live, status, readiness["state"]) == (200, 200, "running")
        assert get(f"http://127.0.0.1:{port}/nowhere")[0] == 404

    ledger = select(flow, "SELECT kafka_partition, next_offset, `stored`, duplicates, quarantined FROM orders_ledger")
    assert metrics.by("orderflow_ledger_offset", "partition") == {str(row[0]): row[1] for row in ledger}
    assert metrics.by("orderflow_topic_end_offset", "partition") == {str(row[0]): row[1] for row in ledger}
    assert metrics.value("orderflow_lag_records") == 0
    for index, name in enumerate(("stored", "duplicates", "quarantined"), 2):
        assert metrics.value(f"orderflow_{name}_total", topic=flow.kafka_topic) == sum(row[index] for row in ledger)
    assert metrics.by("orderflow_sink_quarantined_total", "reason") == dict(
        select(flow, "SELECT reason, COUNT(*) FROM orders_quarantine GROUP BY reason")
    )
    assert metrics.value("orderflow_sink_event_to_commit_seconds_count") == sum(row[1] for row in ledger)
    [(latency_sum,)] = select(
        flow, "SELECT SUM(TIMESTAMPDIFF(MICROSECOND, produced_at, stored_at)) / 1000000 FROM orders"
    )
    assert (metrics.value("orderflow_sink_event_to_commit_seconds_sum") or 0) > float(latency_sum) * 0.9
    transactions = metrics.value("orderflow_sink_transaction_seconds_count")
    assert transactions and transactions >= (3 if engine == "spark" else 1)  # one per partition, or one for all
    steps = {"lock", "decode", "write", "account", "commit"}
    assert {metrics.value("orderflow_sink_step_seconds_count", step=step) for step in steps} == {transactions}
    assert metrics.value("orderflow_sink_transaction_seconds_sum") == pytest.approx(
        metrics.value("orderflow_sink_step_seconds_sum")
    )
    states = metrics.by("orderflow_sink_state", "state")
    assert states == {"starting": 0, "standby": 0, "running": 1, "waiting": 0}


def _workers(pid: int) -> list[psutil.Process]:
    """Return Spark's Python workers: the children of their daemon."""
    return [
        worker
        for process in psutil.Process(pid).children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and "orderflow.spark.daemon" in process.cmdline()
        for worker in process.children()
    ]


def test_a_waiting_process_is_live_but_not_ready(tmp_path: Path) -> None:
    nowhere = Settings(
        kafka_bootstrap_servers=f"127.0.0.1:{free_port()}",
        mysql_port=free_port(),
        sink_metrics_port=free_port(),
        producer_metrics_port=free_port(),
    )
    sink_port, producer_port = nowhere.sink_metrics_port, nowhere.producer_metrics_port
    with (
        running(nowhere, "sink", "--engine", "direct", folder=tmp_path, name="sink") as sink,
        running(nowhere, "produce", folder=tmp_path, name="produce") as producer,
    ):
        until(
            lambda: (page(sink_port).value("orderflow_sink_retries_total", error="DatabaseUnavailable") or 0) > 1, sink
        )
        live, status, readiness = health(sink_port)
        assert (live, status, readiness["state"]) == (200, 503, "waiting")
        assert f"MySQL at localhost:{nowhere.mysql_port} does not answer" in readiness["message"]
        until(lambda: health(producer_port)[0] == 200, producer)
        assert health(producer_port)[1:] == (503, {"ready": False, "state": "starting", "message": ""})
        second_sink = run(nowhere, "sink", "--engine", "direct", cwd=tmp_path)
        assert second_sink.returncode == 2
        assert second_sink.stderr.startswith(f"error: Metrics cannot be served on 127.0.0.1:{sink_port}: ")


def test_prometheus_scrapes_every_metric_of_the_board_and_the_alerts(flow: Settings, tmp_path: Path) -> None:
    with (
        running(flow, "sink", "--engine", "direct", folder=tmp_path, name="sink") as sink,
        running(flow, "produce", "--rate", "50", "--bad", "0.2", folder=tmp_path, name="produce") as producer,
        running(flow, "dashboard", folder=tmp_path, name="dashboard") as dashboard,
        _prometheus(flow, tmp_path) as (prometheus, port),
    ):
        until(lambda: (page(flow.sink_metrics_port).value("orderflow_stored_total") or 0) > 100, sink)
        assert run(flow, "audit", cwd=tmp_path).returncode == 0
        [(proven, findings)] = select(flow, "SELECT proven, findings FROM orders_audits")
        assert (proven, findings) == (1, 0)
        until(has_logged(dashboard, "Dashboard at"), dashboard)
        assert get(f"http://127.0.0.1:{flow.dashboard_port}/metrics")[0] == 401
        assert health(flow.dashboard_port)[:2] == (200, 200)
        assert health(flow.producer_metrics_port)[1:] == (200, {"ready": True, "state": "running", "message": ""})
        until(lambda: query(port, "query", query="orderflow_audit_proven == 1")["result"], prometheus)

        until(lambda: all(target["health"] != "unknown" for target in _targets(port)), prometheus)
        targets = _targets(port)
        assert {target["scrapePool"]: (target["health"], target["lastError"]) for target in targets} == dict.fromkeys(
            ("orderflow-sink", "orderflow-producer", "orderflow-dashboard"), ("up", "")
        )
        until(lambda: not _without_result(port), prometheus)
        until(lambda: {rule["health"] for rule in _rules(port)} == {"ok"}, prometheus)
        # These alerts may be pending, because a sink that starts slowly commits late. They fire only after minutes.
        allowed = {"OrderFlowManyQuarantined", "OrderFlowCommitsLate"}
        assert {rule["name"] for rule in _rules(port) if rule["state"] != "inactive"} <= allowed
        scraped = {name: set(labels) for name, labels in _labels(port)}
        producer.terminate()
        until(lambda: not producer.alive)
    assert producer.exit_code == 0
    docs = (DEPLOY.parent / "docs/metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(orderflow_\w+)` \| (\w+) \| .*? \| (.*?) \|", docs, re.MULTILINE)
    documented = {
        f"{name}_sum" if kind == "histogram" else name: set(labels.split(", ")) - {""} for name, kind, labels in rows
    }
    unseen = {"orderflow_sink_retries_total"}  # nothing failed
    unseen |= {name for name in documented if name.startswith("orderflow_spark_")}  # the engine is direct
    assert {name: scraped.get(name) for name in documented.keys() - unseen} == {
        name: documented[name] for name in documented.keys() - unseen
    }


def _targets(port: int) -> Any:
    return query(port, "targets")["activeTargets"]


@contextmanager
def _prometheus(flow: Settings, folder: Path) -> Iterator[tuple[Process, int]]:
    """Run a Prometheus that scrapes these commands every second, with our alerts."""
    ports = {
        "orderflow-sink": flow.sink_metrics_port,
        "orderflow-producer": flow.producer_metrics_port,
        "orderflow-dashboard": flow.dashboard_port,
    }
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(DEPLOY / "prometheus/alerts.yml")],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
                "authorization": {"credentials": TOKEN},
            }
            for job, port in ports.items()
        ],
    }
    (folder / "prometheus.json").write_text(json.dumps(configuration))  # JSON is YAML
    port = free_port()
    process = Process(
        "prometheus",
        [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.json'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        log=folder / "prometheus.log",
        cwd=folder,
    )
    process.start()
    try:
        process.wait_ready(lambda: query(port, "targets") is not None, 60)
        yield process, port
    finally:
        process.kill()


def _without_result(port: int) -> list[str]:
    """Return the dashboard's expressions without a result, except those about events that did not occur."""
    board = json.loads((DEPLOY / "grafana/orderflow.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [
        expression
        for expression in expressions
        if "retries" not in expression
        and not query(port, "query", query=expression.replace("$__rate_interval", "10s"))["result"]
    ]


def _rules(port: int) -> list[dict[str, Any]]:
    return [rule for group in query(port, "rules")["groups"] for rule in group["rules"]]


def _labels(port: int) -> Iterator[tuple[str, set[str]]]:
    for series in query(port, "series", **{"match[]": '{__name__=~"orderflow_.*"}'}):
        yield series["__name__"], series.keys() - {"__name__", "instance", "job"}


# Series of a metric with one sample a minute, and the alert that they trigger.
FIRING = {
    "OrderFlowLagGrows": {'orderflow_lag_records{topic="orders",partition="0"}': "10000+100x60"},
    "OrderFlowSinkWaits": {'orderflow_sink_state{state="waiting"}': "1x60"},
    "OrderFlowSinkAbsent": {"orderflow_producer_waiting": "0x60"},
    "OrderFlowNoOrders": {'orderflow_ledger_moved_timestamp_seconds{topic="orders"}': "60x60"},
    "OrderFlowCommitsLate": {
        'orderflow_sink_event_to_commit_seconds_bucket{le="5.0"}': "0+1x60",
        'orderflow_sink_event_to_commit_seconds_bucket{le="10.0"}': "0+100x60",
        'orderflow_sink_event_to_commit_seconds_bucket{le="+Inf"}': "0+100x60",
    },
    "OrderFlowManyQuarantined": {
        'orderflow_stored_total{topic="orders"}': "0+90x60",
        'orderflow_duplicates_total{topic="orders"}': "0+8x60",
        'orderflow_quarantined_total{topic="orders"}': "0+2x60",
    },
    "OrderFlowProducerFails": {"orderflow_producer_failed_total": "0x50 1x9"},
    "OrderFlowProducerWaits": {"orderflow_producer_waiting": "1x60"},
    "OrderFlowAuditFailed": {"orderflow_audit_proven": "0x60"},
    "OrderFlowAuditOld": {"orderflow_audit_timestamp_seconds": "-200000x60"},
}
RUNNING_SINK = {'orderflow_sink_state{state="running"}': "1x60"}
# The same series when nothing is wrong.
QUIET = {
    'orderflow_lag_records{topic="orders",partition="0"}': "20000-100x60",
    'orderflow_sink_state{state="waiting"}': "0x60",
    'orderflow_ledger_moved_timestamp_seconds{topic="orders"}': "0+60x60",
    'orderflow_sink_event_to_commit_seconds_bucket{le="5.0"}': "0+100x60",
    'orderflow_sink_event_to_commit_seconds_bucket{le="+Inf"}': "0+100x60",
    'orderflow_stored_total{topic="orders"}': "0+99x60",
    'orderflow_duplicates_total{topic="orders"}': "0+1x60",
    'orderflow_quarantined_total{topic="orders"}': "0+0.5x60",
    "orderflow_producer_failed_total": "3x60",
    "orderflow_producer_waiting": "0x60",
    "orderflow_audit_proven": "1x60",
    "orderflow_audit_timestamp_seconds": "0x60",
}


def test_each_alert_fires_only_for_its_cause(tmp_path: Path) -> None:
    names = re.findall(r"- alert: (\w+)", (DEPLOY / "prometheus/alerts.yml").read_text())
    assert names == list(FIRING)
    cases = [(name, FIRING[name] | ({} if name == "OrderFlowSinkAbsent" else RUNNING_SINK)) for name in names]
    cases.append(("", QUIET))
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "59m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else [],
                }
            ],
        }
        for alert, series in cases
    ]
    file = tmp_path / "tests.json"
    file.write_text(json.dumps({"rule_files": [str(DEPLOY / "prometheus/alerts.yml")], "tests": tests}))
    for arguments in (["test", "rules", str(file)], ["check", "config", str(DEPLOY / "prometheus/prometheus.yml")]):
        result = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_a_thousand_slow_clients_do_not_disturb_the_sink(flow: Settings, tmp_path: Path) -> None:
    assert run(flow, "init", cwd=tmp_path).returncode == 0
    sink = Process(
        "sink",
        ["/bin/sh", "-c", f"ulimit -n 1024; exec '{sys.executable}' -m orderflow sink --engine direct"],
        log=tmp_path / "sink.log",
        env=os.environ | flow.environment(),
        cwd=tmp_path,
    )
    sink.start()
    with ExitStack() as stack:
        stack.callback(sink.kill)
        until(has_logged(sink, "Metrics at"), sink)
        clients = []
        for _ in range(1000):
            time.sleep(0.005)  # the listener can keep up
            client = stack.enter_context(socket.create_connection(("127.0.0.1", flow.sink_metrics_port), 10))
            client.setblocking(False)
            clients.append(client)
        for _ in range(5):
            time.sleep(1)
            for client in clients:
                with suppress(OSError):  # the connection is closed
                    client.send(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
            assert psutil.Process(sink.identity[0]).num_fds() < 200
        assert run(flow, "produce", "--count", "100", cwd=tmp_path).returncode == 0
        until(lambda: select(flow, "SELECT COUNT(*) FROM orders") == [(100,)], sink)
        assert health(flow.sink_metrics_port)[:2] == (200, 200)
    assert not has_logged(sink, "Traceback")()
