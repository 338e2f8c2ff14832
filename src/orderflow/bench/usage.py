"""Processor time and memory of the processes of a run, as the operating system counts them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

import psutil

_INTERVAL = 1.0  # seconds between two looks, each of which takes some ms


class Look(NamedTuple):
    """One process: its group, seconds of processor time since its start, bytes of memory (PSS; RSS outside Linux)."""

    group: str
    cpu: float
    memory: int


Looks = dict[tuple[int, float], Look]  # by process id and time of creation


def look(roots: Mapping[str, int]) -> Looks:
    """All processes under these ids; one that is under several belongs to the first.

    A root's JVM and its Python workers are groups of their own.
    """
    found: Looks = {}
    for name, pid in roots.items():
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    key = process.pid, process.create_time()
                    if key not in found:
                        found[key] = _look(process, name, process.pid == pid)
    return found


def memory(looks: Looks) -> Counter[str]:
    """Bytes by group."""
    found: Counter[str] = Counter()
    for one in looks.values():
        found[one.group] += one.memory
    return found


def cpu(looks: Looks, before: Looks) -> dict[str, float]:
    """Seconds of processor time that each group used since `before`."""
    used: dict[str, float] = {}
    for key, one in looks.items():
        spent = one.cpu - (before[key].cpu if key in before else 0.0)
        used[one.group] = used.get(one.group, 0.0) + spent
    return used


def of_sink(by_group: Mapping[str, float]) -> float:
    """The sum over the sink's own processes."""
    return sum(value for group, value in by_group.items() if group.startswith("sink"))


def _look(process: psutil.Process, root: str, is_root: bool) -> Look:
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_full_info()
        jvm = process.name() == "java"
    group = root if is_root else f"{root}: JVM" if jvm else f"{root}: workers"
    return Look(group, times.user + times.system, getattr(memory, "pss", memory.rss))


class PeakMemory:
    """Watches processes while a block lasts: `bytes` is the most that each group had at a look."""

    def __init__(self, roots: Mapping[str, int]) -> None:
        self._roots = roots
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join()

    def _watch(self) -> None:
        ended = False
        while not ended:
            self.bytes |= memory(look(self._roots))  # the larger one of each
            ended = self._ending.wait(_INTERVAL)
