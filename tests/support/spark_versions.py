"""Runs the pipeline's tests with another Spark version: `python -m tests.support.spark_versions 3.5 [arguments]`.

Each version has its own environment, .venv-spark-VERSION, with everything that requirements-dev.txt pins except
PySpark. src/orderflow/jvm/jars.lock pins the Kafka connector for that version.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELEASES = {"3.5": "3.5.7", "4.0": "4.0.0", "4.1": "4.1.1", "4.2": "4.2.0"}  # versions of pyspark
TESTS = [
    "tests/unit/test_spark_failures.py",
    "tests/integration/test_sink.py",
    "tests/integration/test_spark_api.py",
    "tests/integration/test_realtime.py",
]


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in RELEASES:
        print(f"Name one of these Spark versions: {', '.join(RELEASES)}.", file=sys.stderr)
        return 2
    version, *arguments = sys.argv[1:]
    python = _environment(version)
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [str(python), "-m", "pytest", *TESTS, "-k", "not direct", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, check=False).returncode


def _environment(version: str) -> Path:
    """Return the environment's Python. Create the environment if it is missing or older than its requirements."""
    folder = ROOT / f".venv-spark-{version}"
    python, marker = folder / "bin" / "python", folder / ".done"
    pinned = ROOT / "requirements-dev.txt"
    if marker.exists() and marker.stat().st_mtime > pinned.stat().st_mtime:
        return python
    names = [line.removesuffix(" \\") for line in pinned.read_text().splitlines() if line[:1].isalnum()]
    kept = [name for name in names if not name.startswith(("pyspark", "py4j"))]
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    with tempfile.TemporaryDirectory() as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text("\n".join([*kept, f"pyspark=={RELEASES[version]}", "setuptools"]))
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*install, "-r", str(requirements)], check=True)
    marker.touch()
    return python


if __name__ == "__main__":
    sys.exit(main())
