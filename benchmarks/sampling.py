"""Measures the time of each step of the writers: a thread samples the stacks of all other threads.

The sampled code needs no changes. `install` creates a folder that, on PYTHONPATH, starts the sampler in each Python
process of a command, including Spark's forked workers. It distinguishes steps by module and by the statement's name, so
the sampled code may change.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

_INTERVAL = 0.001  # seconds between two samples; a C call that holds the GIL delays the next one
_WRITE_INTERVAL = 0.05  # seconds between two writes of the file, because a worker may be killed at any time

_STEPS = {
    "orderflow.contract.exact_path": "decode and check",
    "orderflow.contract.fast_path": "decode and check",
    "orderflow.store.existing_orders": "render",
    "orderflow.store.order_rows": "render",
    "orderflow.store.orders": "render",
    "orderflow.store.separate_inserts": "render",
    "orderflow.store.skipped_rows": "render",
    "orderflow.store.quarantine": "quarantine",
    "orderflow.store.rollup": "rollup",
    "orderflow.store.writer": "rest of the writer",
    "orderflow.store.transaction": "rest of the writer",
    "orderflow.store.record_batch": "rest of the writer",
    "orderflow.store.commit_ticket": "wait for the commit order",
    "orderflow.pipeline.partition_consumer": "wait for records",
    "orderflow.pipeline.direct": "wait for records",
    "orderflow.spark.tasks": "receive from Spark",
    "orderflow.positions.kafka_topic_reader": "check gaps",
}
_WATCHERS = ("orderflow.pipeline.supervisor", "benchmarks")  # threads that only wait for others
_LOADS = {"load_orders", "insert_orders"}


def install(folder: Path) -> dict[str, str]:
    """Return the environment with which a command's processes write their samples into `folder`."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import pathlib\nfrom benchmarks import sampling\nsampling.start(pathlib.Path({str(folder)!r}))\n"
    )
    root = Path(__file__).resolve().parents[1]
    path = [str(folder), str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path)}


def read(folder: Path) -> dict[str, float]:
    """Return the seconds of the writers' threads by step, over all processes."""
    total: Counter[str] = Counter()
    for file in folder.glob("*.json"):
        total.update(json.loads(file.read_text()))
    return dict(total.most_common())


def start(folder: Path) -> None:
    """Sample this process and the processes that it forks."""
    _begin(folder)
    os.register_at_fork(after_in_child=lambda: _begin(folder))


def _begin(folder: Path) -> None:
    threading.Thread(target=_watch, args=(folder / f"{os.getpid()}.json",), daemon=True).start()


def _watch(file: Path) -> None:
    seconds: Counter[str] = Counter()
    own, last = threading.get_ident(), time.monotonic()
    written = last
    while True:
        time.sleep(_INTERVAL)
        now = time.monotonic()
        for thread, frame in sys._current_frames().items():
            if thread != own and (step := _step(frame)):
                seconds[step] += now - last  # type: ignore[assignment]
        last = now
        if now - written > _WRITE_INTERVAL:
            written = now
            new = file.with_suffix(".new")
            new.write_text(json.dumps(seconds))
            new.replace(file)


def _step(leaf: FrameType | None) -> str | None:
    """Return a thread's step; None if it is not a writer's thread."""
    stack: list[tuple[str, FrameType]] = []
    while leaf:
        name = leaf.f_globals.get("__name__", "")
        if name.startswith(_WATCHERS) or (name, leaf.f_code.co_name) == ("orderflow.pipeline.direct", "_store"):
            return None
        if name.startswith("orderflow."):
            stack.append((name, leaf))
        leaf = leaf.f_back
    if not stack:
        return None
    for name, frame in stack:
        if name == "orderflow.store.connection":
            if frame.f_code.co_name == "commit":
                return "COMMIT"
            if statement := frame.f_locals.get("statement"):
                return "MySQL: the rows" if statement in _LOADS else "MySQL: other statements"
        elif step := _STEPS.get(name):
            return (
                "convert records"
                if any(found.f_code.co_name in ("_record_batch", "_as_record_batch") for _, found in stack)
                else step
            )
    return None
