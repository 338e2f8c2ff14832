"""Keeps the sink running: takes the lead, starts the engine at the ledger's position, and lets an error's class
decide whether to wait, to start again, or to stop.

Rejected: letting Spark's checkpoint decide where to go on. It can say more or less than what MySQL committed;
the ledger cannot.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import psutil

from orderflow import native, topic
from orderflow.errors import (
    Contention,
    EngineFailed,
    Interrupted,
    KafkaUnavailable,
    OrderFlowError,
    TopicMissing,
    Unavailable,
)
from orderflow.insights import status
from orderflow.insights.status import Status
from orderflow.pipeline.engine import Engine
from orderflow.settings import Settings
from orderflow.store import ledger, schema
from orderflow.store.connection import ANSWER_TIMEOUT, Connection
from orderflow.topic import TopicInfo

log = logging.getLogger(__name__)

_POLL = 0.25  # seconds between two looks at the engine
_PROGRESS_INTERVAL = 5.0  # seconds between two looks at ledger and topic, and two lines of progress
_SHORTEST_WAIT, _LONGEST_WAIT = 0.2, 5.0  # seconds between two attempts
_REMINDER_INTERVAL = 10.0  # seconds between two lines about the same outage
_STANDBY_LOOK = 1.0  # seconds
# Seconds without progress while records wait, until the engine is started again: longer than MySQL is given to answer.
_STALLED = ANSWER_TIMEOUT + 30.0
_FINISH_BATCH = 30.0  # seconds that a graceful stop gives the batch
_FRUITLESS_STARTS = 8
_SCRATCH = "orderflow-sink-"


class Progress(NamedTuple):
    """What the sink says of itself. `status` where it has looked; `error` is the class of what it waits out."""

    state: str  # standby, running, waiting
    message: str
    status: Status | None = None
    error: str = ""


class Supervisor:
    """One sink: runs until it is told to stop, or, with `once`, until all that is in the topic is stored."""

    def __init__(
        self,
        settings: Settings,
        *,
        engine: Engine,
        once: bool = False,
        tell: Callable[[Progress], None] = lambda _: None,
        listen: Callable[[Path], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        """`tell` is told of each look and each failed attempt; `listen` may open something in the scratch folder."""
        self._settings = settings
        self._engine = engine
        self._once = once
        self._tell = tell
        self._listen = listen
        self._stop = threading.Event()
        self._positions: dict[int, int] = {}

    def run(self) -> None:
        """Run the sink.

        Raises OperatorError where only a person can help. Everything else is waited out.
        """
        if not native.IS_COMPILED:
            log.warning("OrderFlow is not installed here, so orders are read at a tenth of the speed: pip install .")
        with _signals(self._ask_to_stop), _scratch() as scratch, self._listen(scratch):
            self._engine.open(scratch)  # beside the first look at Kafka and MySQL
            self._keep_running()
            self._engine.close()

    def _keep_running(self) -> None:
        wait, fruitless, reminded = _SHORTEST_WAIT, 0, -_REMINDER_INTERVAL
        before: dict[int, int] = {}
        while not self._stop.is_set():
            try:
                return self._lead_and_run()
            except (Unavailable, Contention) as error:  # Contention: a session that has died, or hangs, holds a lock
                if self._stop.is_set():
                    return None
                if before != self._positions:
                    # It has moved since: this is another outage.
                    before, wait, fruitless, reminded = dict(self._positions), _SHORTEST_WAIT, 0, -_REMINDER_INTERVAL
                fruitless += isinstance(error, Interrupted)
                if fruitless >= _FRUITLESS_STARTS:
                    raise EngineFailed(
                        f"The sink failed {fruitless} times in a row at the same position: {error.message}",
                        hint="Nothing is lost. See the log above, and `orderflow doctor`.",
                    ) from error
                self._tell(Progress("waiting", error.message, error=type(error).__name__))
                if time.monotonic() - reminded > _REMINDER_INTERVAL:
                    self._say_waiting(error)
                    reminded = time.monotonic()
                self._stop.wait(wait * random.uniform(0.5, 1))  # noqa: S311
                wait = min(wait * 1.5, _LONGEST_WAIT)
        return None

    def _ask_to_stop(self) -> None:
        log.info("Stopping after this batch. Once more to leave at once; nothing is lost either way.")
        self._stop.set()

    def _lead_and_run(self) -> None:
        for step in schema.prepare(self._settings):
            log.info("Made %s.", step.what)
        with Connection(self._settings) as connection:
            if not self._take_leadership(connection):
                return
            info = self._topic(connection)
            first = {part: bounds.first for part, bounds in topic.bounds(self._settings, info.partitions).items()}
            self._positions = ledger.open_partitions(connection, info.name, info.topic_id, first)
            ends = self._ends(info)
            self._engine.start(info, ends if self._once else None)
            try:
                self._watch(connection, info)
            finally:
                self._engine.stop()

    def _take_leadership(self, connection: Connection) -> bool:
        """Wait until this is the only active sink; False if it was told to stop meanwhile."""
        seconds = 0.0
        while not ledger.take_leadership(connection, self._settings, seconds):
            if not seconds:
                seconds = _STANDBY_LOOK
                log.info("Another sink is active on this table and topic: standing by to take over.")
                self._tell(Progress("standby", "another sink is active; standing by"))
            if self._stop.is_set():
                return False
        return True

    def _topic(self, connection: Connection) -> TopicInfo:
        known = {entry.topic: entry.topic_id for entry in ledger.entries(connection)}
        if self._settings.kafka_topic not in known:
            return topic.ensure(self._settings)
        try:
            return topic.describe(self._settings)
        except TopicMissing as missing:
            raise TopicMissing(
                f"{missing.message[:-1]}, though the ledger has positions in it.",
                hint="It was deleted, or KAFKA_BOOTSTRAP_SERVERS names another cluster. If it shall begin anew, set"
                " another MYSQL_TABLE.",
            ) from missing

    def _ends(self, info: TopicInfo) -> dict[int, int]:
        """Where the topic's partitions end now, which must not be before the ledger's positions.

        A broker that restarts may show an older end for a moment; one that lost records shows it for good.
        """
        ends = {part: bounds.end for part, bounds in topic.bounds(self._settings, info.partitions).items()}
        for part, end in ends.items():
            if self._positions[part] > end:
                raise KafkaUnavailable(
                    f"{info.name} partition {part} ends at offset {end}, before the ledger's position"
                    f" {self._positions[part]}: Kafka is recovering, or has lost records that are stored."
                )
        return ends

    def _watch(self, connection: Connection, info: TopicInfo) -> None:
        """Return when the flow has ended well or a stop was asked for; raise the class of its failure."""
        looked = -_PROGRESS_INTERVAL
        told: Progress | None = None
        moved, before = time.monotonic(), self._positions
        while not self._engine.wait(_POLL):
            if self._stop.is_set():
                self._engine.finish(_FINISH_BATCH)
                return
            if time.monotonic() - looked > _PROGRESS_INTERVAL:
                looked = time.monotonic()
                progress = self._progress(connection, info)
                if told is None or progress.message != told.message:
                    log.info("%s", progress.message, extra={"lag": progress.status and progress.status.lag})
                self._tell(progress)
                told = progress
                if self._positions != before:
                    moved, before = looked, self._positions
                if looked - moved > _STALLED:
                    self._check_nothing_waits(info, looked - moved)
                    moved = looked
        self._tell(self._progress(connection, info))

    def _check_nothing_waits(self, info: TopicInfo, seconds: float) -> None:
        """An engine may hang without a word. Markers of transactions at a partition's end are nothing to wait for.

        Raises Interrupted.
        """
        for part, bounds in topic.bounds(self._settings, list(self._positions)).items():
            start = self._positions[part]
            if start < bounds.end and topic.holds_records(self._settings, part, start, bounds.end):
                raise Interrupted(
                    f"Nothing was stored for {seconds:.0f} seconds, though {info.name} partition {part} holds records"
                    f" from offset {start} on (the engine says: {self._engine.activity()})."
                )

    def _progress(self, connection: Connection, info: TopicInfo) -> Progress:
        """A look at ledger and topic, which also notices a lost leadership and a topic made again."""
        entries = [entry for entry in ledger.entries(connection) if entry.topic == info.name]
        self._positions = {entry.partition: entry.next_offset for entry in entries}
        found = topic.describe(self._settings)
        ledger.check_topic_id(info.name, found.topic_id, info.topic_id)
        if added := set(found.partitions).difference(info.partitions):
            raise Interrupted(f"Topic {info.name} has new partitions: {', '.join(map(str, sorted(added)))}.")
        ends = {part: bounds.end for part, bounds in topic.bounds(self._settings, found.partitions).items()}
        now = status.combine(self._settings, entries, ends, newest=None)
        message = f"{now.stored} stored, {now.duplicates} duplicates, {now.quarantined} quarantined, lag {now.lag}"
        return Progress("running", message, now)

    def _lag(self) -> int:
        bounds = topic.bounds(self._settings, topic.describe(self._settings).partitions)
        return sum(max(0, bounds[part].end - self._positions.get(part, bounds[part].first)) for part in bounds)

    def _say_waiting(self, error: OrderFlowError) -> None:
        try:
            waiting = f" {self._lag()} records wait in Kafka." if self._positions else ""
        except OrderFlowError:  # Kafka itself is what is awaited, or what the next attempt will tell
            waiting = ""
        next_step = "Starting again at the ledger's position." if isinstance(error, Interrupted) else "Waiting for it."
        log.warning("%s %s%s", error.message, next_step, waiting, extra={"error": type(error).__name__})


@contextmanager
def _signals(ask_to_stop: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks to stop, the second ends the process at once."""
    asked = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        ask_to_stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for Spark's checkpoint and LOAD DATA's files: nothing in it is needed by a later run.

    In memory where the system offers it: LOAD DATA's files are read as soon as they are written.
    """
    memory = Path("/dev/shm")  # noqa: S108
    base = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    for left in base.glob(f"{_SCRATCH}*-*"):  # by a sink that was killed, or that this process was before
        owner = int(left.name.removeprefix(_SCRATCH).split("-")[0])
        if owner == os.getpid() or not psutil.pid_exists(owner):
            shutil.rmtree(left, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-", dir=base)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
