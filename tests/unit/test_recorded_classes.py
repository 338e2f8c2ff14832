"""`make setup` records the classes that Spark loads. Its JVM writes them when it exits, after the sink has ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from orderflow.embedded import __main__ as setup
from orderflow.embedded import signals
from orderflow.jvm import java
from orderflow.spark import session


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of Spark's class archive in an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(java, "spark_jvm", lambda: ("spark", "4"))
    monkeypatch.setattr(java, "find", lambda: java.Java(tmp_path, "17", "PATH"))
    return java.find().archive(*java.spark_jvm())


def _jvm_that_writes(archive: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let `orderflow up` end at once, and leave a JVM that writes the archive for so long."""
    new = archive.with_suffix(java.NEW_SUFFIX)
    program = f"import time; from pathlib import Path; time.sleep({seconds}); Path({str(new)!r}).write_text('classes')"

    def up(*_: Any, **__: Any) -> int:
        subprocess.Popen([sys.executable, "-c", program, f"-XX:ArchiveClassesAtExit={new}"])
        return 0

    monkeypatch.setattr(signals, "run", up)


def test_setup_waits_for_the_archive(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _jvm_that_writes(archive, monkeypatch, 1)
    setup._record_classes()
    assert archive.read_text() == "classes"


def test_an_unfinished_archive_is_not_used(
    archive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _jvm_that_writes(archive, monkeypatch, 60)
    archive.with_suffix(java.NEW_SUFFIX).write_text("half")
    monkeypatch.setattr(setup, "_RECORDING_TIMEOUT", 0.5)
    setup._record_classes()
    assert not list(archive.parent.iterdir())
    assert "were not recorded" in capsys.readouterr().out


@pytest.mark.parametrize("is_recording", [False, True])
def test_a_stop_does_not_kill_a_jvm_that_records(monkeypatch: pytest.MonkeyPatch, *, is_recording: bool) -> None:
    if is_recording:
        monkeypatch.setenv(java.RECORD_VARIABLE, "1")
    process = Mock(wait=Mock(side_effect=subprocess.TimeoutExpired("java", 10)))
    gateway = SimpleNamespace(shutdown=Mock(), proc=process)
    session.stop(Mock(sparkContext=SimpleNamespace(_gateway=gateway)))
    assert process.stdin.close.called
    assert process.kill.called is not is_recording
