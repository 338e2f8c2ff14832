"""Measures processor time and memory of a run's processes with the operating system's counters."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

import psutil

_INTERVAL = 1.0  # seconds between two samples, each of which takes several ms


class Sample(NamedTuple):
    """One process: its group, seconds of processor time since its start, bytes of memory (PSS; RSS if not Linux)."""

    group: str
    cpu: float
    memory: int


Samples = dict[tuple[int, float], Sample]  # by process id and time of creation


def sample(roots: Mapping[str, int]) -> Samples:
    """Sample these processes and all their descendants. A process with several roots belongs to the first.

    A root's JVM and its Python workers are separate groups.
    """
    found: Samples = {}
    for name, pid in roots.items():
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    key = process.pid, process.create_time()
                    if key not in found:
                        found[key] = _sample(process, name, process.pid == pid)
    return found


def memory(samples: Samples) -> Counter[str]:
    """Return bytes by group."""
    found: Counter[str] = Counter()
    for process in samples.values():
        found[process.group] += process.memory
    return found


def cpu(samples: Samples, before: Samples) -> dict[str, float]:
    """Return the seconds of processor time that each group used since `before`."""
    used: dict[str, float] = {}
    for key, process in samples.items():
        spent = process.cpu - (before[key].cpu if key in before else 0.0)
        used[process.group] = used.get(process.group, 0.0) + spent
    return used


def of_sink(by_group: Mapping[str, float]) -> float:
    """Return the sum over the sink's processes."""
    return sum(value for group, value in by_group.items() if group.startswith("sink"))


def _sample(process: psutil.Process, root: str, is_root: bool) -> Sample:
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_full_info()
        jvm = process.name() == "java"
    group = root if is_root else f"{root}: JVM" if jvm else f"{root}: workers"
    return Sample(group, times.user + times.system, getattr(memory, "pss", memory.rss))


class PeakMemory:
    """Samples processes during a block. `bytes` has the maximum of each group."""

    def __init__(self, roots: Mapping[str, int]) -> None:
        self._roots = roots
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stop_event.set()
        self._thread.join()

    def _watch(self) -> None:
        ended = False
        while not ended:
            self.bytes |= memory(sample(self._roots))  # the maximum of each
            ended = self._stop_event.wait(_INTERVAL)
