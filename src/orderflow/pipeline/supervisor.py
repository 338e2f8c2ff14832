"""Keeps the sink running. It takes the leadership lock and starts the engine at the ledger's positions.

The class of an error decides whether the sink waits, restarts the engine, or stops.

Rejected: Spark's checkpoint as the position to resume from. It can be ahead of or behind what MySQL committed; the
ledger cannot.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from orderflow import topic
from orderflow.contract import native
from orderflow.errors import (
    Contention,
    Interrupted,
    JvmExited,
    KafkaUnavailable,
    LedgerGap,
    OrderFlowError,
    StopRequested,
    Unavailable,
    translate_shortages,
)
from orderflow.pipeline import scratch
from orderflow.pipeline.engine import Engine
from orderflow.pipeline.engine_watch import EngineWatch, SinkProgress
from orderflow.pipeline.leader_session import SessionKeepAlive, read_as_leader
from orderflow.pipeline.process_restart import restart_process, stop_on_signals
from orderflow.plurals import counted
from orderflow.positions.ledger_status import describe_older_end
from orderflow.positions.start_checks import check_accounted_offsets, prepare_start
from orderflow.restarts import HEALTHY_RUN, UNKNOWN_ERROR_TIMEOUT, Restarts, failure_message
from orderflow.settings import Settings
from orderflow.store import ledger, schema
from orderflow.store.connection import Connection
from orderflow.topic import TopicInfo

log = logging.getLogger(__name__)


class Supervisor:
    """Runs one sink until a signal stops it, or, with `once`, until the topic's current records are stored."""

    def __init__(
        self,
        settings: Settings,
        *,
        engine: Engine,
        once: bool = False,
        on_progress: Callable[[SinkProgress], None] = lambda _: None,
        receive_metrics: Callable[[Path], AbstractContextManager[None]] = lambda _: nullcontext(),
        unknown_error_timeout: float = UNKNOWN_ERROR_TIMEOUT,
        leader_idle_timeout: int = 180,
        standby_interval: float = 1.0,
        reminder_interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_progress` is called with each progress report and after each failed attempt.

        `receive_metrics` is a context manager that gets the path of the scratch folder.

        All times are in seconds. An unknown database error is retried for `unknown_error_timeout` while a partition
        with waiting records makes no progress. If this sink's machine is gone, the server ends its session after
        `leader_idle_timeout`, and a standby takes over: it tries every `standby_interval`. The same outage is logged
        every `reminder_interval`.
        """
        self._settings = settings
        self._engine = engine
        self._once = once
        self._on_progress = on_progress
        self._receive_metrics = receive_metrics
        self._leader_idle_timeout = leader_idle_timeout
        self._standby_interval = standby_interval
        self._reminder_interval = reminder_interval
        self._clock = clock
        self._restarts = Restarts("The sink", unknown_error_timeout=unknown_error_timeout, clock=clock)
        self._stop_event = threading.Event()
        self._watch = EngineWatch(settings, engine, on_progress, clock=clock)
        self._waiting: dict[int, int] = {}  # positions of the partitions with waiting records at the last start
        self._has_started_engine = False
        self._started_at = 0.0  # time at which the current run as leader began
        self._reported_error: OrderFlowError | None = None  # error of the current attempt, once it is reported
        self._failed_at = 0.0  # time at which that error was reported
        self._last_positions: dict[int, int] = {}  # positions at the last failure
        self._logged_failure_at = -math.inf

    def run(self) -> None:
        """Run the sink.

        Raises OperatorError if a person must act. The sink waits until any other error passes.
        """
        if not native.IS_COMPILED:
            log.warning(
                "OrderFlow is not installed, so it decodes orders much more slowly. To install it: pip install ."
            )
        with stop_on_signals(self._request_stop), scratch.open_folder() as folder, self._receive_metrics(folder):
            self._engine.open(folder, self._stop_event)  # it starts up during the first requests to Kafka and MySQL
            try:
                self._keep_running()
            except BaseException:
                if self._has_started_engine:  # a JVM that still starts ends with this process, without a wait for it
                    with suppress(Unavailable):  # the first error is the cause
                        self._engine.close()
                raise
            self._engine.close()

    def _keep_running(self) -> None:
        while not self._stop_event.is_set():
            self._started_at, self._reported_error = self._clock(), None
            self._watch.begin_attempt()
            try:
                with translate_shortages("The sink cannot continue"):
                    return self._run_as_leader()
            except JvmExited as exited:
                if not self._stop_event.is_set():  # otherwise a signal to all processes of the service has ended it
                    has_failed = not self._was_healthy(self._clock())
                    restart_process(exited, self._watch.positions, self._stop_event, has_failed=has_failed)
            except StopRequested:
                return None
            except (Unavailable, Contention) as error:  # Contention: a session that died or hangs holds a lock
                if self._stop_event.is_set():
                    return None
                self._report_failure(error)
                self._stop_event.wait(self._register_run(error))
        return None

    def _report_failure(self, error: Unavailable | Contention) -> None:
        """Report an attempt's error once. During an outage, it is logged every `reminder_interval` seconds."""
        if error is self._reported_error or self._stop_event.is_set():
            return
        self._reported_error, self._failed_at = error, self._clock()
        self._watch.mark_failed()
        self._on_progress(SinkProgress("waiting", error.message, error=error.name))
        is_new_outage = self._has_progressed() or self._was_healthy(self._failed_at)
        if is_new_outage or self._failed_at - self._logged_failure_at > self._reminder_interval:
            self._log_failure(error)

    def _register_run(self, error: Unavailable | Contention) -> float:
        """Count the failed attempt. Return the seconds to wait before the next one."""
        wait = self._restarts.register_run(
            error,
            was_healthy=self._was_healthy(self._failed_at),
            has_progressed=self._has_progressed(),
            positions=self._waiting_positions(),
        )
        self._last_positions = dict(self._watch.positions)
        return wait

    def _has_progressed(self) -> bool:
        """Whether a position has moved since the last failure."""
        return self._last_positions != self._watch.positions

    def _was_healthy(self, ended_at: float) -> bool:
        """Whether the run was healthy: it lasted more than 60 s and reached a lag of 0."""
        return self._watch.has_caught_up and ended_at - self._started_at > HEALTHY_RUN

    def _waiting_positions(self) -> list[Hashable]:
        """Return the partitions that had a lag at the last start, with their positions. If none had one, return all.

        A damaged partition waits for a person, so it shows nothing about another error.
        """
        damaged = self._engine.damaged_partitions()
        waiting: list[Hashable] = [item for item in self._waiting.items() if item[0] not in damaged]
        return waiting or [tuple(self._watch.positions.items())]

    def _request_stop(self) -> None:
        self._stop_event.set()
        log.info("Stopping after this batch. A second signal stops the sink at once. Nothing is lost in either case.")

    def _run_as_leader(self) -> None:
        schema.check_active_sink(self._settings)
        for step in schema.prepare(self._settings):
            log.info("Created %s.", step.description)
        with Connection(self._settings, idle_timeout=self._leader_idle_timeout) as connection:
            if not self._take_leadership(connection):
                return
            self._started_at = self._clock()
            while self._run_engine(connection):
                pass

    def _run_engine(self, connection: Connection) -> bool:
        """Run the engine from the ledger's positions. Return whether it must be restarted."""
        start = prepare_start(self._settings, connection)
        topic_info, positions = start.topic_info, start.positions
        self._watch.set_start(connection, start)
        end_offsets = self._end_offsets(topic_info, positions)
        self._waiting = {
            partition: position for partition, position in positions.items() if position < end_offsets.get(partition, 0)
        }
        read_as_leader(connection, self._stop_event, lambda: check_accounted_offsets(self._settings, start.accounted))
        with SessionKeepAlive(connection):  # Spark may need minutes, and so may a search for damaged batches
            self._engine.start(topic_info, positions, end_offsets, once=self._once)
        self._has_started_engine = True
        try:
            must_restart = self._watch.wait_for_end(connection, topic_info, end_offsets, self._stop_event)
        except BaseException as error:
            # Before the engine is stopped, which may take half a minute.
            if isinstance(error, Unavailable | Contention) and not isinstance(error, JvmExited):
                self._report_failure(error)
            with suppress(Unavailable):  # the first error is the cause; the next start stops the engine again
                self._engine.stop()
            raise
        self._engine.stop()
        return must_restart

    def _take_leadership(self, connection: Connection) -> bool:
        """Wait until this is the only active sink. Return False if a stop was requested meanwhile."""
        seconds = 0.0
        while not ledger.take_leadership(connection, self._settings, seconds):
            if not seconds:
                seconds = self._standby_interval
                log.info(
                    "Another sink is active on this table and topic (MySQL session %s). This sink is a hot standby.",
                    ledger.leader_session_id(connection, self._settings) or "unknown",
                )
                self._on_progress(SinkProgress("standby", "another sink is active; standing by"))
            if self._stop_event.is_set():
                return False
        return True

    def _end_offsets(self, topic_info: TopicInfo, positions: Mapping[int, int]) -> dict[int, int]:
        """Return the current ends of the topic's partitions.

        Raises KafkaUnavailable if an end is before the ledger's position.
        """
        all_bounds = topic.bounds(self._settings, topic_info.partitions)
        end_offsets = {partition: bounds.end for partition, bounds in all_bounds.items()}
        for partition, end in end_offsets.items():
            if positions[partition] > end:
                raise KafkaUnavailable(describe_older_end(topic_info.name, partition, end, positions[partition]))
        return end_offsets

    def _lag(self) -> int:
        bounds = topic.bounds(self._settings, topic.describe(self._settings).partitions)
        positions = self._watch.positions  # an added partition starts at 0
        return sum(max(0, end - positions.get(partition, 0)) for partition, (_, end) in bounds.items())

    def _log_failure(self, error: Unavailable | Contention) -> None:
        """Log what failed, what happens next, and the lag if it is known."""
        is_restart = isinstance(error, Interrupted | LedgerGap | Contention)
        next_step = "Restarting at the ledger's position." if is_restart else "Retrying."
        if self._watch.has_current_positions() and not isinstance(error, KafkaUnavailable):
            with suppress(OrderFlowError):  # Kafka is unavailable too, or the next attempt reports this error
                next_step += f" The lag is {counted(self._lag(), 'record')}."
        log.warning("%s", failure_message(error, next_step), extra={"error": error.name})
        self._logged_failure_at = self._clock()
