"""The jars of Kafka, Spark's Kafka connector and MariaDB, verified against the SHA-256 in `jars.lock`.

`make lock` (lock.py) writes the lock file: group, coordinate, SHA-256 and size in bytes. jgo downloads the locked jars
without their POMs. Each jar is verified after the download and before every use. Callers can pass another lock file.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from orderflow import extras
from orderflow.errors import StartFailed
from orderflow.jvm import cache

LOCK = Path(__file__).with_name("jars.lock")


def locked(group: str, lock: Path = LOCK) -> dict[str, dict[str, str | int]]:
    """The jars of a group: coordinate (group:artifact:version) to `sha256` and `size` in bytes."""
    jars: dict[str, dict[str, str | int]] = json.loads(lock.read_text())[group]
    return jars


def paths(group: str, lock: Path = LOCK) -> list[Path]:
    """The paths of a group's jars, in the order of the lock file. Missing jars are downloaded first.

    Raises StartFailed if a jar cannot be downloaded or does not match its SHA-256.
    """
    jars = locked(group, lock)
    if not all(cached(coordinate).exists() for coordinate in jars):
        with cache.lock() as scratch:
            if missing := {c: jar for c, jar in jars.items() if not cached(c).exists()}:
                _download(group, missing, scratch)
    for coordinate, jar in jars.items():
        path = cached(coordinate)
        _verify(coordinate, path, jar, f"Delete {path} and run this again: it is downloaded again.")
    return [cached(coordinate) for coordinate in jars]


def spark_paths() -> list[Path]:
    """The paths of the Kafka connector for the installed pyspark, and of its dependencies that Spark does not have.

    Raises StartFailed if the lock file has none for that version, and the errors of `paths`.
    """
    version = metadata.version("pyspark")
    group = f"spark-{'.'.join(version.split('.')[:2])}"
    if group not in json.loads(LOCK.read_text()):
        raise StartFailed(
            f"No Kafka connector is locked for pyspark {version}.",
            hint="Install the pyspark that requirements.txt pins, or use `spark-submit --packages`, see docs/spark.md.",
        )
    return paths(group)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(group: str, jars: Mapping[str, Mapping[str, str | int]], scratch: Path) -> None:
    try:
        from orderflow.jvm import maven  # the import takes 0.3 s and is needed once per machine
    except ImportError as missing:
        raise extras.missing_error("local") from missing

    total = sum(int(jar["size"]) for jar in jars.values())
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        console.print(f"Downloading {total / 1e6:.0f} MB of jars for {group}.")
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(8) as pool,  # most jars are small: parallel downloads hide the round trips
    ):
        bar = progress.add_task(f"Downloading {group}", total=total)

        def download(coordinate: str) -> None:
            new = maven.fetch(coordinate, scratch, lambda count: progress.advance(bar, count))
            _verify(coordinate, new, jars[coordinate], "The repository or mirror served another file.")
            cached(coordinate).parent.mkdir(exist_ok=True)
            new.replace(cached(coordinate))

        list(pool.map(download, jars))


def _verify(coordinate: str, path: Path, jar: Mapping[str, str | int], hint: str) -> None:
    if (actual := sha256(path)) != jar["sha256"]:
        raise StartFailed(
            f"{coordinate} does not match the lock file: its SHA-256 is {actual}, not {jar['sha256']}.",
            hint=hint,
        )


def cached(coordinate: str) -> Path:
    """The path of the jar in the cache, which may not exist yet."""
    _, artifact, version = coordinate.split(":")
    return cache.folder() / "jars" / f"{artifact}-{version}.jar"
