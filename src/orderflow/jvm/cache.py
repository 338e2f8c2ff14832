"""The download cache of a user, shared by all checkouts: $XDG_CACHE_HOME/orderflow or ~/.cache/orderflow."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orderflow.errors import FileUnusable

_HINT = "Set XDG_CACHE_HOME (or HOME) to a folder that this user may write to."


def path() -> Path:
    """The path of the cache, which may not exist yet.

    Raises FileUnusable if XDG_CACHE_HOME and HOME are not set and the user has no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():
        return Path(base, "orderflow")
    try:
        return Path.home().absolute() / ".cache" / "orderflow"
    except (RuntimeError, OSError):
        raise FileUnusable("This user has no home folder for downloads.", hint=_HINT) from None


def folder() -> Path:
    """Create the cache folder if it is missing, and return its path.

    Raises FileUnusable.
    """
    cache_folder = path()
    try:
        cache_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileUnusable(
            f"The cache folder {cache_folder} cannot be created: {error.strerror}.", hint=_HINT
        ) from error
    return cache_folder


@contextmanager
def lock() -> Iterator[Path]:
    """Lock the cache and yield a scratch folder on its file system. Other processes wait.

    Raises FileUnusable.
    """
    cache_folder = folder()
    try:
        file = (cache_folder / "lock").open("w")
    except OSError as error:
        raise FileUnusable(
            f"The cache folder {cache_folder} cannot be written: {error.strerror}.", hint=_HINT
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with tempfile.TemporaryDirectory(dir=cache_folder, prefix="new-") as scratch:
            yield Path(scratch)


def get_or_create(name: str, make: Callable[[Path], None]) -> Path:
    """Return the cached folder `name`; if it is missing, create it with `make(empty folder)`.

    The folder is created atomically. `make` must not change the cache itself.
    """
    target = folder() / name
    if not target.exists():
        with lock() as scratch:
            if not target.exists():
                new = scratch / name
                new.mkdir()
                make(new)
                new.rename(target)
    return target
