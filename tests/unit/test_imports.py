"""What processes that write import: the C extension of the MySQL client, silently slow without it, and no pandas."""

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


def test_the_direct_engine_does_without_pandas() -> None:
    code = (
        "import sys; from pathlib import Path; from orderflow.pipeline.direct import DirectEngine;"
        " from orderflow.reading import read; from orderflow.settings import Settings;"
        " DirectEngine(Settings()).open(Path()); read([b'']); sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
