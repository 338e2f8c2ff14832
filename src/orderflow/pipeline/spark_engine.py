"""The Spark engine: a streaming query that reads with Spark's Kafka source and stores in Python workers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orderflow.errors import Interrupted, JvmExited, OrderFlowError, SparkUnavailable
from orderflow.pipeline.engine import STALL_TIMEOUT, DamagedPartition
from orderflow.pipeline.spark_driver import START_TIMEOUT, SparkDriver
from orderflow.pipeline.spark_query import MicroBatchQuery, RealtimeQuery
from orderflow.pipeline.spark_unreadable import UnreadableRecords
from orderflow.pipeline.trigger_mode import TriggerMode
from orderflow.settings import Settings
from orderflow.spark import realtime
from orderflow.telemetry.query_progress import QueryProgress
from orderflow.topic import TopicInfo

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


class SparkEngine:
    """Stores records with a Spark query; see Engine. Each start takes its offsets from the ledger.

    Spark's checkpoint is therefore only a scratch file.
    """

    def __init__(
        self,
        settings: Settings,
        driver: SparkDriver,
        *,
        stall_timeout: float = STALL_TIMEOUT,
        realtime_batch: str = realtime.BATCH,
    ) -> None:
        """`stall_timeout` is in seconds, without the trigger's interval; see Engine.stall_timeout.

        `realtime_batch` is the length of a batch of Real-Time Mode, as Spark writes intervals.
        """
        self._settings = settings
        self._driver = driver
        self._stall_timeout = stall_timeout + settings.trigger_interval
        self._realtime_batch = realtime_batch
        self._unreadable = UnreadableRecords(settings)
        self._mode = TriggerMode(settings.sink_trigger)
        self._query: MicroBatchQuery | RealtimeQuery | None = None  # None if no partition can be read
        self._is_once = False

    def open(self, scratch: Path, stop_event: threading.Event) -> None:
        self._driver.open(scratch, stop_event)

    def start(
        self, topic_info: TopicInfo, positions: Mapping[int, int], end_offsets: Mapping[int, int], *, once: bool
    ) -> None:
        spark = self._driver.ready_session()
        self._end_former_query()
        self._is_once = once
        positions = self._unreadable.store_without_spark(
            topic_info, positions, end_offsets, scratch=self._driver.scratch, stop_event=self._driver.stop_event
        )
        lag = sum(max(0, end_offsets[partition] - position) for partition, position in positions.items())
        try:
            self._start_query(spark, topic_info, positions, lag)
        except Interrupted:  # a server that is unavailable at the start is no failure of Real-Time Mode
            self._mode.mark_failed()
            raise

    def _start_query(self, spark: SparkSession, topic_info: TopicInfo, positions: Mapping[int, int], lag: int) -> None:
        is_realtime = not self._is_once and self._mode.wants_realtime(lag)
        with self._driver.limited_call(START_TIMEOUT):
            if is_realtime and (reason := RealtimeQuery.unsupported_reason(spark, topic_info)):
                is_realtime = False
                self._mode.mark_unsupported()
                log.warning("Real-Time Mode is not possible: %s. Using micro-batches.", reason)
            if self._settings.sink_trigger in ("realtime", "auto"):
                for name, value in realtime.SHARED_OPTIONS.items():
                    spark.conf.set(name, value)
            self._mode.mark_started(realtime=is_realtime)
            arguments = self._driver, spark, self._settings, topic_info, positions
            if not positions:
                self._query = None
            elif is_realtime:
                self._query = RealtimeQuery.start(*arguments, batch=self._realtime_batch)
                log.info("Real-Time Mode: each record is stored when it arrives.")
            else:
                self._query = MicroBatchQuery.start(*arguments, once=self._is_once)

    def _end_former_query(self) -> None:
        """Repeat the stop of a query that timed out: while its thread runs, Spark refuses another query of its name.

        Raises JvmExited if it times out again. Kafka's admin client can wait forever in its `close`.
        """
        try:
            self.stop()
        except SparkUnavailable as stuck:
            raise JvmExited("Spark's query does not stop, so its JVM is replaced.") from stuck

    def wait(self, seconds: float) -> bool:
        self._driver.check_executors_if_due()
        if self._query is None:
            time.sleep(seconds)
        elif not self._has_ended(self._query, seconds):
            return False
        if self._is_once and (damaged := self._unreadable.damaged):
            raise next(iter(damaged.values())).error
        return self._query is not None

    def _has_ended(self, query: MicroBatchQuery | RealtimeQuery, seconds: float) -> bool:
        try:
            return query.has_ended(seconds)
        except OrderFlowError as error:
            self._mode.mark_failed()
            self._unreadable.must_search |= isinstance(error, Interrupted)
            raise

    def mark_stalled(self) -> None:
        self._mode.mark_failed()

    def damaged_partitions(self) -> Mapping[int, DamagedPartition]:
        return self._unreadable.damaged

    def activity(self) -> str:
        return self._query.activity() if self._query else "no partition can be read"

    def stall_timeout(self) -> float:
        return self._query.stall_timeout(self._stall_timeout) if self._query else self._stall_timeout

    def update_trigger(self, lag: int) -> bool:
        if self._is_once:
            return False
        must_switch = self._mode.update_trigger(lag)
        if must_switch and isinstance(self._query, RealtimeQuery):
            log.info("Switching to micro-batches, because %d records wait.", lag)
        return must_switch or self._unreadable.probe_damaged_partitions()

    def progress(self) -> QueryProgress | None:
        return self._query.progress() if self._query else None

    def drain(self, seconds: float) -> None:
        if self._query:
            self._query.drain(seconds)

    def stop(self) -> None:
        if self._query:
            self._query.stop()

    def close(self) -> None:
        self._driver.close()
