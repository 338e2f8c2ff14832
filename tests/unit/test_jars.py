"""Jars: the cached ones are verified against the lock file, and missing ones are downloaded."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pyspark
import pytest

from benchmarks.rivals import rival_jars
from orderflow.errors import StartFailed
from orderflow.jvm import jars, maven

COORDINATE = "org.example:thing:1.0"
CONTENT = b"content" * 1_000_000


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Return a lock file with one jar."""
    path = tmp_path / "jars.lock"
    entry = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}
    path.write_text(json.dumps({"kafka": {COORDINATE: entry}}))
    return path


@pytest.fixture
def one_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache path of the one locked jar, which is already cached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jar = tmp_path / "orderflow/jars/thing-1.0.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(CONTENT)
    return jar


class Mirror(NamedTuple):
    """The path of the one jar in a mirror of Maven Central, and the paths requested from the mirror."""

    jar: Path
    requested_paths: list[str]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Run a mirror that the user's Maven settings name."""
    served = tmp_path / "mirror"
    jar = served / "org/example/thing/1.0/thing-1.0.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(CONTENT)
    requested_paths: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            requested_paths.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=served))
    threading.Thread(target=server.serve_forever, args=[0.01]).start()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2/settings.xml").write_text(
        f"""<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0"><mirrors>
        <mirror><mirrorOf>internal</mirrorOf><url>http://nowhere.invalid/</url></mirror>
        <mirror><mirrorOf>internal,central</mirrorOf><url>http://127.0.0.1:{server.server_port}</url></mirror>
        </mirrors></settings>"""
    )
    yield Mirror(jar, requested_paths)
    server.shutdown()
    server.server_close()


def test_a_jar_with_the_locked_hash_is_used(one_jar: Path, lock: Path) -> None:
    assert jars.paths("kafka", lock) == [one_jar]


def test_a_changed_byte_is_refused(one_jar: Path, lock: Path) -> None:
    one_jar.write_bytes(CONTENT[:-1] + b"T")
    with pytest.raises(StartFailed) as refused:
        jars.paths("kafka", lock)
    for part in (COORDINATE, jars.sha256(one_jar), hashlib.sha256(CONTENT).hexdigest()):
        assert part in refused.value.message
    assert str(one_jar) in refused.value.hint


@pytest.mark.parametrize("lock", [jars.LOCK, rival_jars.LOCK], ids=["servers", "rivals"])
def test_the_lock_names_every_jar_with_its_hash(lock: Path) -> None:
    groups = json.loads(lock.read_text())
    assert groups
    for locked in groups.values():
        for coordinate, jar in locked.items():
            assert len(coordinate.split(":")) == 3
            assert len(bytes.fromhex(str(jar["sha256"]))) == 32
            assert int(jar["size"]) > 0


def test_the_connector_is_of_pysparks_version() -> None:
    assert f"org.apache.spark:spark-sql-kafka-0-10_2.13:{pyspark.__version__}" in jars.locked("spark-4.2")


@pytest.mark.parametrize("group", [group for group in json.loads(jars.LOCK.read_text()) if group.startswith("spark-")])
def test_jars_that_spark_ships_are_not_added_again(group: str) -> None:
    shipped = {path.name.rpartition("-")[0] for path in (Path(pyspark.__file__).parent / "jars").glob("*.jar")}
    assert not {coordinate.split(":")[1] for coordinate in jars.locked(group)} & shipped


def test_a_pyspark_without_a_locked_connector_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "3.4.1")
    with pytest.raises(StartFailed, match=r"pyspark 3\.4\.1"):
        jars.spark_paths()


@pytest.mark.usefixtures("mirror")
def test_a_missing_jar_comes_from_the_users_mirror(
    one_jar: Path, lock: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one_jar.unlink()
    assert jars.paths("kafka", lock) == [one_jar]
    assert one_jar.read_bytes() == CONTENT
    output = capfd.readouterr()
    assert "Downloading 7 MB of jars for kafka" in output.err
    assert not output.out


def test_another_jar_from_the_mirror_is_refused_and_not_kept(one_jar: Path, lock: Path, mirror: Mirror) -> None:
    one_jar.unlink()
    mirror.jar.write_bytes(b"something else")
    with pytest.raises(StartFailed, match="does not match the lock file") as refused:
        jars.paths("kafka", lock)
    assert "mirror" in refused.value.hint
    assert not one_jar.exists()


def test_a_jar_that_no_repository_has_is_reported(tmp_path: Path, mirror: Mirror) -> None:
    mirror.jar.unlink()
    with pytest.raises(StartFailed, match=f"{COORDINATE} could not be downloaded"):
        maven.fetch(COORDINATE, tmp_path / "local", attempts=1)


def test_two_processes_that_need_the_same_jar_download_it_once(one_jar: Path, lock: Path, mirror: Mirror) -> None:
    one_jar.unlink()
    code = f"from pathlib import PosixPath; from orderflow.jvm import jars; print(*jars.paths('kafka', {lock!r}))"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in processes] == [str(one_jar)] * 2
    assert sorted(path.name for path in one_jar.parents[1].iterdir()) == ["jars", "lock"], "no scratch is left"
    assert sum(path.endswith(".jar") for path in mirror.requested_paths) == 1
