"""The sink function, which runs in Spark's Python workers: a task is a flow of some partitions, for a micro-batch.

Rejected: records read by Spark's own Kafka source and handed over as Arrow batches, see docs/architecture.md.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from orderflow.errors import OrderFlowError, from_wire
from orderflow.pipeline.engine import tune_memory
from orderflow.pipeline.flow import Flow
from orderflow.pipeline.source import TopicSource

_LOOK = 0.1  # seconds between two looks whether a flow shall end


class WorkerError(Exception):
    """Carries an OrderFlowError's type and texts through Spark, which passes on nothing but text."""


class Sink(NamedTuple):
    """The flows of one query. A task is given the number of its share of the partitions.

    `going` is a file in the driver's `scratch`: where that is at hand, the flows end when the file is gone. Elsewhere
    Spark ends their processes.
    """

    source: TopicSource
    shares: Sequence[Sequence[int]]
    ends: Mapping[int, int] | None
    scratch: Path
    going: Path
    seconds: float  # of a micro-batch

    def store(self, number: int) -> None:
        """Store the records of a share from the ledger's positions on, until the time is over or all ends are reached.

        Raises WorkerError.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all: the driver decides
        tune_memory()
        try:
            self._flow(self.shares[number % len(self.shares)]).run()
        except OrderFlowError as error:
            raise WorkerError(error.to_wire()) from error

    def _flow(self, share: Sequence[int]) -> Flow:
        here = self.scratch.is_dir()
        over = _over(self.seconds, self.going if here else None)
        return Flow(self.source, share, self.ends, self.scratch if here else None, over, alone=len(self.shares) == 1)


def _over(seconds: float, going: Path | None) -> threading.Event:
    """Set when so much time is over, the file is gone, or the process that has forked this one is."""
    stopping, parent, over = threading.Event(), os.getppid(), time.monotonic() + seconds

    def watch() -> None:
        while not stopping.wait(_LOOK):
            if time.monotonic() > over or os.getppid() != parent or not (going is None or going.exists()):
                stopping.set()

    threading.Thread(target=watch, daemon=True).start()
    return stopping


def told(failure: str) -> OrderFlowError | None:
    """The OrderFlowError that a worker raised, from the text Spark made of it; None if it was none."""
    found = re.search(rf"^{__name__}\.{WorkerError.__name__}: (\{{.*\}})$", failure, re.MULTILINE)
    return from_wire(found[1]) if found else None
