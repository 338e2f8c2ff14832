"""The jars Kafka and MariaDB come in: exactly those of `jars.lock`, or none.

`make lock` (lock.py) writes the lock: group, coordinate, SHA-256 and size in bytes. Here the locked jars are
fetched by jgo, without any POM, and compared with their hash after download and before every use. Others may have a
lock file of their own.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from orderflow.embedded import cache
from orderflow.errors import StartFailed

LOCK = Path(__file__).with_name("jars.lock")


def locked(group: str, lock: Path | None = None) -> dict[str, dict[str, str | int]]:
    """Coordinate (group:artifact:version) to its `sha256` and `size` in bytes; of `jars.lock` unless told another."""
    jars: dict[str, dict[str, str | int]] = json.loads((lock or LOCK).read_text())[group]
    return jars


def paths(group: str, lock: Path | None = None) -> list[Path]:
    """The group's jars, in the lock's order; what the cache lacks is downloaded first.

    Raises StartFailed if one cannot be downloaded, or is not byte for byte the locked one.
    """
    jars = locked(group, lock)
    if not all(cached(coordinate).exists() for coordinate in jars):
        with cache.changing() as scratch:
            if missing := {c: jar for c, jar in jars.items() if not cached(c).exists()}:
                _download(group, missing, scratch)
    for coordinate, jar in jars.items():
        path = cached(coordinate)
        _verify(coordinate, path, jar, f"Delete {path} and run this again: it is downloaded anew.")
    return [cached(coordinate) for coordinate in jars]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(group: str, jars: Mapping[str, Mapping[str, str | int]], scratch: Path) -> None:
    from orderflow.embedded import maven  # 0.3 s, and needed once per machine

    total = sum(int(jar["size"]) for jar in jars.values())
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        console.print(f"Downloading {total / 1e6:.0f} MB of jars for {group}.")
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(8) as pool,  # most jars are small: one after the other, their round trips add up
    ):
        bar = progress.add_task(f"Downloading {group}", total=total)

        def keep(coordinate: str) -> None:
            new = maven.fetch(coordinate, scratch, lambda count: progress.advance(bar, count))
            _verify(coordinate, new, jars[coordinate], "The repository or mirror served something else.")
            cached(coordinate).parent.mkdir(exist_ok=True)
            new.replace(cached(coordinate))

        list(pool.map(keep, jars))


def _verify(coordinate: str, path: Path, jar: Mapping[str, str | int], hint: str) -> None:
    if (found := sha256(path)) != jar["sha256"]:
        raise StartFailed(
            f"{coordinate} is not the jar that is locked: its SHA-256 is {found}, not {jar['sha256']}.",
            hint=hint,
        )


def cached(coordinate: str) -> Path:
    """Where the jar lies, or will lie."""
    _, artifact, version = coordinate.split(":")
    return cache.folder() / "jars" / f"{artifact}-{version}.jar"
