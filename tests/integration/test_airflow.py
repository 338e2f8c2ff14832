"""The DAGs of examples/airflow in a real Airflow, in its own virtual environment, with real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orderflow.jvm import cache
from orderflow.settings import Settings
from tests.support.processes import TIMEOUT, run
from tests.support.sql import execute, select

EXAMPLES = Path(__file__).parents[2] / "examples/airflow"


@pytest.fixture(scope="module")
def airflow() -> Path:
    """Return the Python of an environment with Airflow, in the versions of requirements.txt."""
    versions = (EXAMPLES / "requirements.txt").read_bytes()
    name = f"airflow-{sys.version_info.major}.{sys.version_info.minor}-{sha256(versions).hexdigest()[:12]}"
    return cache.get_or_create(name, _install) / "bin/python"


def _install(folder: Path) -> None:
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    pip: list[str | Path] = [*uv, "pip", "install", "--quiet", "--python", folder / "bin/python", "--require-hashes"]
    subprocess.run([*pip, "-r", EXAMPLES / "requirements.txt"], check=True)


class _AlertReceiver(HTTPServer):
    """The receiver of alerts and reports."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.texts: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: _AlertReceiver

    def do_POST(self) -> None:
        self.server.texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def receiver() -> Iterator[_AlertReceiver]:
    with _AlertReceiver() as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


@pytest.mark.long  # takes two minutes; tests/unit/test_docs.py checks the commands of the DAGs
@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_the_dags_store_prove_report_and_alert(
    settings: Settings, airflow: Path, receiver: _AlertReceiver, tmp_path: Path
) -> None:
    program = tmp_path / "bin/orderflow"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom orderflow.cli import main\nmain()\n")
    program.chmod(0o755)
    environ = os.environ | settings.environment()
    environ |= {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_VAR_ORDERFLOW_ALERT_URL": f"http://127.0.0.1:{receiver.server_port}/",
        "NO_PROXY": "127.0.0.1",
    }

    def run_airflow(*arguments: str) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [airflow, "-m", "airflow", *arguments]
        return subprocess.run(
            command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )

    migrated = run_airflow("db", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    sent = run(settings, "produce", "--count", "50", "--bad", "0.2", "--seed", "7", "--json", cwd=tmp_path)
    bad = json.loads(sent.stdout.splitlines()[-1])["bad"]

    stored = run_airflow("dags", "test", "orderflow_store")
    assert stored.returncode == 0, stored.stdout + stored.stderr
    assert select(settings, "SELECT COUNT(*) FROM orders") == [(50 - bad,)]
    assert select(settings, "SELECT proven, records FROM orders_audits") == [(1, 50)]
    assert receiver.texts == []

    today = datetime.now(UTC).date()
    assert run_airflow("dags", "test", "orderflow_quarantine", str(today + timedelta(1))).returncode == 0
    [report] = receiver.texts
    assert report.startswith(f"Quarantined on {today} and open: ")
    assert sum(int(word) for word in report.split() if word.isdigit()) == bad > 0

    execute(settings, "DELETE FROM orders LIMIT 1")
    failed = run_airflow("dags", "test", "orderflow_store")
    assert failed.returncode == 1
    assert receiver.texts[1:] and receiver.texts[1].startswith("orderflow_store, audit failed: ")
