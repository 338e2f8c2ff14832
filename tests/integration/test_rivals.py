"""The rivals at a tiny size: each fills the table. The tests check how each handles messages that are not orders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orderflow.settings import Settings
from tests.support import processes


@pytest.fixture
def servers(mysql_server: Settings, kafka: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in processes.QUICK_JAVA.items():
        monkeypatch.setenv(name, value)
    return msgspec.structs.replace(mysql_server, kafka_bootstrap_servers=kafka)


def _rivals(settings: Settings, folder: Path, *names: str) -> Any:
    """Run these contestants and return their results."""
    arguments = ["--rows=3000", "--rounds=1", "--seconds=1", "--json", *(f"--only={name}" for name in names)]
    # A rival is started up to five times.
    process = processes.run(settings, "rivals", *arguments, cwd=folder, timeout=500, module="benchmarks")
    assert process.returncode == 0, process.stderr
    contestants = json.loads(process.stdout)["contestants"]
    for contestant in contestants:
        assert not contestant["failures"]
        [run] = contestant["runs"]
        assert run["steady"] > 0 and run["memory"]["sink"] > 1e6
        assert (run["table"], contestant["stream_table"]) == ("exact", "exact")
        assert 0 < contestant["stream"]["p50"] <= contestant["stream"]["p99"]
        assert contestant["guarantees"]
    return [tuple(contestant["bad_messages"].values()) for contestant in contestants]


def test_handwritten_scripts_are_compared_with_the_direct_engine(servers: Settings, tmp_path: Path) -> None:
    direct, upsert, load_data = _rivals(servers, tmp_path, "direct", "upsert", "load-data")
    assert direct == ("quarantined, malformed_json", "quarantined, wrong_type")
    assert upsert == ("skipped", "stops permanently, 10 of 20 good orders stored")
    assert load_data == ("skipped", "stored, quantity 0")


@pytest.mark.long  # five JVM starts, for behavior that the other tests already prove of the command
def test_the_original_design_stops_at_a_malformed_message(servers: Settings, tmp_path: Path) -> None:
    assert _rivals(servers, tmp_path, "original-rewritten") == [
        ("stops permanently, 10 of 20 good orders stored", "stored, quantity NULL")
    ]


def test_debezium_stops_at_a_malformed_message(servers: Settings, tmp_path: Path) -> None:
    assert _rivals(servers, tmp_path, "debezium") == [
        ("stops permanently, 10 of 20 good orders stored", "stored, quantity 0")
    ]


@pytest.mark.long  # like the test above
def test_flink_skips_a_malformed_message(servers: Settings, tmp_path: Path) -> None:
    assert _rivals(servers, tmp_path, "flink") == [("skipped", "stored, quantity NULL")]


def test_an_unknown_contestant_is_refused(servers: Settings, tmp_path: Path) -> None:
    refused = processes.run(servers, "rivals", "--only=sqoop", cwd=tmp_path, module="benchmarks")
    assert refused.returncode == 2 and "sqoop" in refused.stderr and "load-data" in refused.stderr
