"""The sink's scratch folder for LOAD DATA files and Spark's checkpoint. No later run needs anything in it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from orderflow.errors import SettingInvalid, translate_shortages

_PREFIX = "orderflow-scratch-"
_MIN_FREE = 128 * 1024 * 1024  # bytes: the files of three transactions with the longest orders


@contextmanager
def open_folder() -> Iterator[Path]:
    """Create a folder that only this user can enter, and remove it afterwards.

    The folder is in memory (/dev/shm) if there is enough free space, because LOAD DATA files are read as soon as they
    are written. It also removes the folders that killed sinks of this user left behind.

    Raises SettingInvalid if no folder for temporary files is writable, OutOfResources if no such folder has free space.
    """
    bases = _bases()
    for base in bases:
        for folder in base.glob(f"{_PREFIX}*"):
            _remove_if_abandoned(folder)
    base = choose(bases)
    with translate_shortages(f"{base} cannot be written"):
        folder, lock = _make(base)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def choose(bases: Sequence[Path]) -> Path:
    """Return the first folder with enough free space, else the folder with the most."""
    free_bytes = {base: shutil.disk_usage(base).free for base in bases}
    return next(
        (base for base, free in free_bytes.items() if free >= _MIN_FREE), max(free_bytes, key=free_bytes.__getitem__)
    )


def _bases() -> list[Path]:
    """Return the writable folders for temporary files."""
    memory = Path("/dev/shm")  # noqa: S108
    bases = [memory] if os.access(memory, os.W_OK | os.X_OK) else []
    with suppress(FileNotFoundError):
        bases.append(Path(tempfile.gettempdir()))
    if not bases:
        raise SettingInvalid(
            "No folder for temporary files is writable.", hint="Set TMPDIR to a folder that this user can write."
        )
    return bases


def _make(base: Path) -> tuple[Path, int]:
    """Create a folder. Return it with the file descriptor that locks it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
        # Until the folder is locked, another sink that starts may treat it as abandoned and remove it.
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(BlockingIOError):
                _lock(descriptor)
                if folder.exists():
                    return folder, descriptor
            os.close(descriptor)


def _remove_if_abandoned(folder: Path) -> None:
    """Remove the folder if it belongs to this user and no process has locked it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_uid == os.geteuid() and _lock(descriptor):
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock the folder until the descriptor is closed or this process ends. False if the file system has no locks (NFS).

    The lock shows that the folder is in use. The process id in its name cannot: another pid namespace has the same ids.

    Raises BlockingIOError while another process holds the lock.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True
