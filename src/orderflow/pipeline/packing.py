"""Packs the sink's Python packages into one archive, for cluster machines on which they are not installed."""

from __future__ import annotations

import hashlib
import logging
import tarfile
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import orderflow

log = logging.getLogger(__name__)

# The packages that a worker imports; their requirements are packed too. Spark brings its own pyspark.
_ROOTS = ("confluent-kafka", "msgspec", "mysql-connector-python", "pyarrow", "python-dotenv")


def pack(make_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Return the path of the archive. `make_once(name, make)` creates it if these versions were not packed before.

    The archive works on machines with the same Python version, operating system and processor.
    """
    dists = {dist.name: dist for root in _ROOTS for dist in _with_required(root)}
    sources = sorted(Path(orderflow.__file__).parent.rglob("*"))
    digest = hashlib.sha256()
    for dist in dists.values():
        digest.update(f"{dist.name} {dist.version}\n".encode())
    for path in sources:
        digest.update(f"{path} {path.stat().st_mtime_ns}\n".encode())

    def make(folder: Path) -> None:
        log.info("Packing %d packages for the cluster's workers; this is done once per version.", len(dists) + 1)
        with tarfile.open(folder / "packages.tgz", "w:gz", compresslevel=1) as archive:
            archive.add(Path(orderflow.__file__).parent, "orderflow", filter=_no_bytecode)
            for dist in dists.values():
                for file in dist.files or ():
                    if ".." not in file.parts:  # skips the scripts of commands
                        archive.add(file.locate(), str(file), recursive=False, filter=_no_bytecode)

    return make_once(f"packages-{digest.hexdigest()[:16]}", make) / "packages.tgz"


def _with_required(name: str) -> Iterator[Distribution]:
    from packaging.requirements import Requirement

    dist = distribution(name)
    yield dist
    for requirement in map(Requirement, dist.requires or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield from _with_required(requirement.name)


def _no_bytecode(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name else member
