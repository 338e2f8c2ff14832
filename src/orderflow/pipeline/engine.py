"""What the supervisor asks of an engine: to carry records from given offsets of the topic into the store."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, TypeVar

from orderflow.store.run import TRANSACTION_ROWS
from orderflow.topic import TopicInfo

Result = TypeVar("Result")


class Engine(Protocol):
    """It keeps no position of its own: each start is at the ledger's."""

    def open(self, scratch: Path) -> None:
        """Begin to come up, without waiting for it. `scratch` is a folder that no later run needs."""

    def start(self, info: TopicInfo, ends: Mapping[int, int] | None) -> None:
        """Store the records from the ledger's positions on; with `ends`, those before these offsets."""

    def wait(self, seconds: float) -> bool:
        """Whether the flow has ended, waiting so long for it.

        Raises the class of its failure.
        """

    def activity(self) -> str:
        """What it does now, in its own words."""

    def finish(self, seconds: float) -> None:
        """Let what is under way be committed, for so long at most."""

    def stop(self) -> None:
        """End the flow; what is under way is rolled back."""

    def close(self) -> None:
        """End the engine."""


def tune_memory() -> None:
    """For a process that writes. What a run is made of holds no cycles: looking for some at Python's default of 700
    objects took a quarter of the time, measured in the direct engine. Arrow's own pool kept 60 MB more than the
    system's, at the same speed, with three threads."""
    import pyarrow as pa

    # Arrow looks for these again and again: 0.5 ms per run, or, where there is pandas, 32 MB.
    for module in ("pandas", "dateutil"):
        sys.modules.setdefault(module, None)  # type: ignore[arg-type]
    gc.set_threshold(5 * TRANSACTION_ROWS)
    pa.set_memory_pool(pa.system_memory_pool())


def background(name: str, work: Callable[[], Result]) -> Future[Result]:
    """Do the work in a thread that the process does not wait for at its end."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
