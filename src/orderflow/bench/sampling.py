"""Where the writers' time goes: a thread that looks at the others' stacks, in processes that know nothing of it.

`install` makes a folder that, put on PYTHONPATH, starts it in each Python process of a command, Spark's forked workers
included. It tells steps apart by module and by the statement's name, so that the code it looks at may change.
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

_INTERVAL = 0.001  # seconds between two looks; a C call that keeps the interpreter's lock delays the next one
_WRITE_INTERVAL = 0.05  # seconds; a worker may be killed at any moment

_STEPS = {
    "orderflow.order": "decode and check",
    "orderflow.reading": "decode and check",
    "orderflow.store.orders": "render",
    "orderflow.store.quarantine": "quarantine",
    "orderflow.store.rollup": "rollup",
    "orderflow.store.writer": "rest of the writer",
    "orderflow.store.run": "rest of the writer",
    "orderflow.store.turn": "wait for its turn",
    "orderflow.pipeline.flow": "wait for records",
    "orderflow.pipeline.source": "look into a gap",
    "orderflow.topic": "look into a gap",
}
_OVERSEERS = ("orderflow.pipeline.supervisor", "orderflow.bench")  # threads that only wait for others
_LOADS = {"load_orders", "insert_orders"}


def install(folder: Path) -> dict[str, str]:
    """The environment that makes a command's processes write what they see into `folder`."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import pathlib\nfrom orderflow.bench import sampling\nsampling.start(pathlib.Path({str(folder)!r}))\n"
    )
    package = Path(__file__).resolve().parents[2]
    path = [str(folder), str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path)}


def read(folder: Path) -> dict[str, float]:
    """Seconds of the writers' threads by step, over all processes."""
    total: Counter[str] = Counter()
    for file in folder.glob("*.json"):
        total.update(json.loads(file.read_text()))
    return dict(total.most_common())


def start(folder: Path) -> None:
    """Look at this process and at those it forks."""
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
    """What a thread is doing; None where it writes nothing."""
    stack: list[tuple[str, FrameType]] = []
    while leaf:
        name = leaf.f_globals.get("__name__", "")
        if name.startswith(_OVERSEERS) or (name, leaf.f_code.co_name) == ("orderflow.pipeline.flow", "run"):
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
            return "hand over" if any(found.f_code.co_name == "_as_run" for _, found in stack) else step
    return None
