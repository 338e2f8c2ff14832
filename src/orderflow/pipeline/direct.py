"""This process itself as the engine, without Spark: for one machine, in a quarter of the memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, wait
from pathlib import Path

from orderflow.pipeline.engine import background, tune_memory
from orderflow.pipeline.flow import Flow
from orderflow.pipeline.source import TopicSource
from orderflow.settings import Settings
from orderflow.topic import TopicInfo


class DirectEngine:
    """See Engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._scratch: Path
        self._stopping = threading.Event()
        self._flow: Future[None]

    def open(self, scratch: Path) -> None:
        self._scratch = scratch
        tune_memory()

    def start(self, info: TopicInfo, ends: Mapping[int, int] | None) -> None:
        self._stopping = threading.Event()  # a new one: a thread that still waits for MySQL must see the old one set
        source = TopicSource(self._settings, info.topic_id)
        self._flow = background("flow", Flow(source, info.partitions, ends, self._scratch, self._stopping).run)

    def wait(self, seconds: float) -> bool:
        if wait([self._flow], seconds).done:
            self._flow.result()
            return True
        return False

    def activity(self) -> str:
        return "its threads wait for Kafka or MySQL"

    def finish(self, seconds: float) -> None:
        self._stopping.set()
        wait([self._flow], seconds)

    def stop(self) -> None:
        self._stopping.set()

    def close(self) -> None:
        """Nothing is left to end: a thread that still waits for MySQL cannot do harm, by the ledger."""
