"""What Spark shows about the sink: its web UI under load, progress events, and the user's spark-defaults.conf."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from orderflow import audit, topic
from orderflow.embedded.ports import free_port
from orderflow.settings import Settings
from tests.support.processes import has_logged, run, running, until
from tests.support.sql import select

pytestmark = pytest.mark.parametrize("database", ["mysql"], indirect=True)
_COUNT = 3000


def _page(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
        text: str = response.read().decode()
        return text


def _progress(events: Path) -> list[dict[str, Any]]:
    """Return the progress of every micro-batch from Spark's event log."""
    lines = [json.loads(line) for file in events.rglob("events_*") for line in file.read_text().splitlines()]
    lines += [json.loads(line) for file in events.glob("local-*") if file.is_file() for line in file.open()]
    return [line["progress"] for line in lines if line["Event"].endswith("QueryProgressEvent")]


def _input_rows(progress: dict[str, Any]) -> int:
    return sum(source["numInputRows"] for source in progress["sources"])


def test_spark_shows_the_stored_records(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, port = tmp_path / "events", free_port()
    events.mkdir()
    configuration = tmp_path / "conf"
    configuration.mkdir()
    options = {
        "spark.ui.port": port,
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": events.as_uri(),
        "spark.eventLog.compress": "false",
    }
    lines = "".join(f"{name} {value}\n" for name, value in options.items())
    (configuration / "spark-defaults.conf").write_text(lines)
    monkeypatch.setenv("SPARK_CONF_DIR", str(configuration))
    topic.get_or_create(settings)
    with running(settings, "sink", "--ui", "--json", folder=tmp_path) as sink:
        until(has_logged(sink, f"Spark's web UI at http://127.0.0.1:{port}/StreamingQuery/"), sink)
        until(has_logged(sink, '"running"'), sink)
        sent = run(settings, "produce", "--count", str(_COUNT), "--bad", "0.01", "--rate", "300", cwd=tmp_path)
        assert sent.returncode == 0, sent.stderr
        shown = _page(port, "/StreamingQuery/")
        assert f"orderflow: {settings.kafka_topic}" in shown and "RUNNING" in shown
        [link] = {part.split('"')[0] for part in shown.split("/StreamingQuery/statistics/?id=")[1:]} or [""]
        # The page has its charts once Spark has recorded a progress.
        until(lambda: "Input Rate" in _page(port, f"/StreamingQuery/statistics/?id={link}"), sink)
        until(lambda: select(settings, "SELECT SUM(next_offset) FROM orders_ledger") == [(_COUNT,)], sink)
        until(lambda: sum(_input_rows(batch_progress) for batch_progress in _progress(events)) == _COUNT, sink)
        os.kill(sink.identity[0], signal.SIGTERM)
        until(lambda: not sink.alive)
        assert sink.exit_code == 0, sink.last_lines()
        assert not has_logged(sink, "Traceback")(), sink.last_lines()
    report = audit.run(settings)
    assert report.is_proven and report.records == _COUNT, report.sentence()
    progress = _progress(events)
    observed = [
        batch_progress["observedMetrics"]["orderflow"]["values"]
        for batch_progress in progress
        if _input_rows(batch_progress)
    ]
    [stored, duplicates, quarantined] = [sum(column) for column in zip(*observed, strict=True)][1:]
    assert (stored, duplicates, quarantined) == (report.stored, report.duplicates, report.quarantined)
    ends = {str(part): bounds.end for part, bounds in topic.bounds(settings, [0, 1, 2]).items()}
    [source] = progress[-1]["sources"]
    assert "Kafka" in source["description"]
    assert json.loads(source["endOffset"]) == {settings.kafka_topic: ends}
