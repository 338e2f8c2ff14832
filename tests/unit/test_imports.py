"""What processes that write import: the C extension of the MySQL client, silently slow without it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "modules",
    [
        "hashlib, orderflow.pipeline.direct",
        "hashlib, orderflow.pipeline.spark",
        "hashlib, pyspark.daemon, pyspark.worker, orderflow.pipeline.sink",
        "hashlib, orderflow.audit",
    ],
)
def test_the_fast_client_is_used(modules: str) -> None:
    code = f"import {modules}, mysql.connector, sys; sys.exit(not mysql.connector.HAVE_CEXT)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
