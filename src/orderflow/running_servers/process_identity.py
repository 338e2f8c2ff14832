"""Identifies a process for a later command. A pid is not enough: the system gives it to other processes later."""

from __future__ import annotations

from typing import NamedTuple

import psutil

_CLOCK_SHIFT = 2.0  # seconds


class ProcessIdentity(NamedTuple):
    """A process id, and when the process was created, in seconds since 1970."""

    pid: int
    created: float


def identity_of(pid: int) -> ProcessIdentity:
    """The identity of the process that has this pid now."""
    return ProcessIdentity(pid, psutil.Process(pid).create_time())


def is_running(identity: ProcessIdentity) -> bool:
    """Whether this process still runs; another process with the same pid does not count."""
    return find(identity) is not None


def find(identity: ProcessIdentity) -> psutil.Process | None:
    """The process, or None if it does not run any more."""
    try:
        process = psutil.Process(identity.pid)
        # The kernel stores the time since boot, so a change of the clock shifts the computed time slightly.
        is_same = abs(process.create_time() - identity.created) < _CLOCK_SHIFT
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, ValueError):  # ValueError: a negative pid
        return None
