"""The MySQL client's C extension is there in every process that writes: without it, it is silently a slow one."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["orderflow.pipeline.daemon", "orderflow.pipeline.direct", "orderflow.pipeline.spark", "orderflow.audit"]
)
def test_the_fast_client_is_used(module: str) -> None:
    code = f"import hashlib, {module}, mysql.connector, sys; sys.exit(not mysql.connector.HAVE_CEXT)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
