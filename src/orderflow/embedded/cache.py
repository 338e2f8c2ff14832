"""Downloads, kept once per user and shared by every checkout: $XDG_CACHE_HOME/orderflow or ~/.cache/orderflow."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def folder() -> Path:
    """The cache's folder, made if missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "orderflow"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def changing() -> Iterator[Path]:
    """A scratch folder on the cache's file system, for one process at a time; the others wait."""
    with (folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with tempfile.TemporaryDirectory(dir=folder(), prefix="new-") as scratch:
            yield Path(scratch)


def once(name: str, make: Callable[[Path], None]) -> Path:
    """The cached folder `name`, made by `make(empty folder)` the first time.

    It appears whole or not at all, whatever happens meanwhile. `make` must not change the cache itself.
    """
    target = folder() / name
    if not target.exists():
        with changing() as scratch:
            if not target.exists():
                new = scratch / name
                new.mkdir()
                make(new)
                new.rename(target)
    return target
