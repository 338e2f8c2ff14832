"""What every command shares: help, errors as sentences, the log's form."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def orderflow(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from orderflow.cli import main; sys.argv[0] = 'orderflow'; main()"
    return python("-c", program, *arguments, cwd=cwd, **environ)


def test_help_imports_nothing_slow(tmp_path: Path) -> None:
    loaded = python("-c", "import sys, orderflow.cli; print(*sys.modules)", cwd=tmp_path).stdout.split()
    assert "typer" in loaded
    assert not {"pyspark", "pyarrow", "confluent_kafka", "mysql.connector", "rich.progress"} & set(loaded)
    assert orderflow("--help", cwd=tmp_path).returncode == 0


def test_an_error_is_a_sentence_and_a_hint(tmp_path: Path) -> None:
    found = orderflow("produce", cwd=tmp_path, STARTING_ORDER_ID="\x1b[31mred")
    assert found.returncode == 2
    assert found.stdout == ""
    assert re.match(r"error: STARTING_ORDER_ID is .*\nhint: Set STARTING_ORDER_ID", found.stderr)
    assert "Traceback" not in found.stderr and "\x1b" not in found.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bad", "0.6", "--repeat", "0.6"],
        ["--bad", "2"],
        ["--count", "0"],
        ["--rate", "-1"],
        ["--file", "orders.csv", "--seed", "0"],
    ],
)
def test_arguments_that_make_no_sense_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    found = orderflow("produce", *arguments, cwd=tmp_path)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_said_before_kafka_is_tried(tmp_path: Path) -> None:
    found = orderflow("produce", "--file", "no\x1bne.csv", cwd=tmp_path, KAFKA_BOOTSTRAP_SERVERS="localhost:1")
    assert found.returncode == 2
    assert found.stderr.startswith("error: no\\x1bne.csv cannot be read: No such file or directory.\nhint: ")


def test_log_lines_are_in_utc_and_harmless(tmp_path: Path) -> None:
    program = (
        "import logging, pathlib; from orderflow.cli import log; log.setup(pathlib.Path('the.log'))\n"
        "logging.getLogger('orderflow.here').warning('%s', 'a\\x1b[31m [red]b\\nc')"
    )
    found = python("-c", program, cwd=tmp_path, TZ="Asia/Tokyo")
    assert found.stderr == (tmp_path / "the.log").read_text()
    said = datetime.strptime(found.stderr[:20], "%Y-%m-%dT%H:%M:%S%z")
    assert abs((datetime.now(UTC) - said).total_seconds()) < 60
    assert found.stderr[20:] == " WARNING a\\x1b[31m [red]b\\nc\n"


def test_a_log_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "kafka_producer.log").mkdir()
    found = orderflow("produce", cwd=tmp_path, KAFKA_BOOTSTRAP_SERVERS="localhost:1", KAFKA_CONNECT_ATTEMPTS="1")
    assert "kafka_producer.log cannot be written" in found.stderr
    assert "Attempt 1 of 1" in found.stderr


def test_the_version_is_shown(tmp_path: Path) -> None:
    assert orderflow("--version", cwd=tmp_path).stdout.startswith("orderflow")
