"""The direct engine: one Python process with librdkafka, without Spark, for one machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path

from confluent_kafka import Message

from orderflow import topic
from orderflow.errors import Interrupted, LedgerGap
from orderflow.pipeline import raw_headers
from orderflow.pipeline.engine import STALL_TIMEOUT, DamagedPartition, run_in_thread, wait_unless_stopped
from orderflow.pipeline.partition_consumer import THREADS, PartitionConsumer, timestamp_of
from orderflow.positions.kafka_topic_reader import KafkaTopicReader
from orderflow.settings import Settings
from orderflow.store.record_batch import RecordBatch
from orderflow.store.worker_process import configure_worker_process
from orderflow.store.writer import Writer
from orderflow.telemetry import transactions
from orderflow.topic import TopicInfo


class DirectEngine:
    """Stores records with three threads; see Engine."""

    def __init__(self, settings: Settings, *, stall_timeout: float = STALL_TIMEOUT) -> None:
        """`stall_timeout` is in seconds; see Engine.stall_timeout."""
        self._settings = settings
        self._stall_timeout = stall_timeout
        self._scratch: Path
        self._stop_event = threading.Event()
        self._future: Future[None]
        self._damaged_partitions: dict[int, DamagedPartition] = {}
        self._committed_at = 0.0  # monotonic time of the last commit, or of the start

    def open(self, scratch: Path, stop_event: threading.Event) -> None:
        self._scratch = scratch
        configure_worker_process()

    def start(
        self, topic_info: TopicInfo, positions: Mapping[int, int], end_offsets: Mapping[int, int], *, once: bool
    ) -> None:
        # Each start has its own event: a thread of the previous start that still waits for MySQL must see its own set.
        self._stop_event, self._damaged_partitions = threading.Event(), {}
        self._committed_at = time.monotonic()
        topic_reader = KafkaTopicReader(self._settings, topic_info.topic_id)
        arguments = (
            topic_reader,
            dict(positions),
            end_offsets if once else None,
            self._stop_event,
            self._damaged_partitions,
        )
        self._future = run_in_thread("direct", lambda: self._commit_until_end(*arguments))

    def commit_range(
        self,
        topic_info: TopicInfo,
        positions: Mapping[int, int],
        end_offsets: Mapping[int, int],
        scratch: Path,
        stop_event: threading.Event,
    ) -> None:
        """Commit the records from `positions` up to `end_offsets`, and return.

        Raises StopRequested when `stop_event` is set, and Interrupted if nothing is stored for the stall timeout.
        """
        self._scratch = scratch
        self.start(topic_info, positions, end_offsets, once=True)

        def check_stall() -> None:
            if time.monotonic() - self._committed_at > self._stall_timeout:
                raise Interrupted(
                    f"Nothing was stored for {self._stall_timeout:g} seconds, although {topic_info.name} has records"
                    " that Spark cannot read past."
                )

        try:
            wait_unless_stopped(self._future, stop_event, "records were stored without Spark", check=check_stall)
            self._future.result()
        finally:
            self.stop()

    def _commit_until_end(
        self,
        topic_reader: KafkaTopicReader,
        positions: Mapping[int, int],
        end_offsets: Mapping[int, int] | None,
        stop_event: threading.Event,
        damaged: dict[int, DamagedPartition],
    ) -> None:
        """Commit the records from `positions` until `stop_event` is set, or up to `end_offsets`.

        Raises the error of a thread. With `end_offsets`, raises BatchDamaged after all other partitions are stored.
        """
        with PartitionConsumer(topic_reader, positions, end_offsets, stop_event, damaged) as consumer:
            threads = [
                run_in_thread(f"direct-{number}", lambda: self._commit_batches(consumer, topic_reader))
                for number in range(THREADS)
            ]
            futures.wait(threads, return_when=futures.FIRST_EXCEPTION)
            stop_event.set()
            futures.wait(threads)
            errors = [error for thread in threads if (error := thread.exception())]
            for error in sorted(errors, key=lambda error: isinstance(error, LedgerGap)):  # the gap is a consequence
                raise error
        if end_offsets is not None and damaged:
            raise next(iter(damaged.values())).error

    def _commit_batches(self, consumer: PartitionConsumer, topic_reader: KafkaTopicReader) -> None:
        with (
            topic.translate_errors(self._settings),
            # Each batch has the oldest records of all partitions, so no other writer stores order_ids between its own.
            Writer(
                self._settings, _GapCheckingReader(topic_reader, consumer), self._scratch, sort_by_last_digit=False
            ) as writer,
        ):
            while next_batch := consumer.next_batch():
                ticket, messages = next_batch
                with ticket:
                    batch = _record_batch(messages, self._settings)
                    try:
                        committed = writer.commit(batch, ticket)
                        self._committed_at = time.monotonic()
                    except LedgerGap:
                        if consumer.stop_event.is_set():  # the previous batch has failed with the actual error
                            return
                        raise
                    except BaseException:
                        consumer.stop_event.set()
                        raise
                if self._settings.sink_metrics_port:
                    transactions.send_metrics(self._scratch, batch, committed, writer.timing)

    def wait(self, seconds: float) -> bool:
        if futures.wait([self._future], seconds).done:
            self._future.result()
            return True
        return False

    def damaged_partitions(self) -> Mapping[int, DamagedPartition]:
        return dict(self._damaged_partitions)

    def activity(self) -> str:
        return "its threads are waiting for Kafka or MySQL"

    def stall_timeout(self) -> float:
        return self._stall_timeout

    def mark_stalled(self) -> None:
        """Do nothing: each start is the same."""

    def update_trigger(self, lag: int) -> bool:
        return False

    def progress(self) -> None:
        """Return None: this engine has no micro-batches."""

    def drain(self, seconds: float) -> None:
        self._stop_event.set()
        futures.wait([self._future], seconds)

    def stop(self) -> None:
        self._stop_event.set()

    def close(self) -> None:
        """Do nothing. A thread that still waits for MySQL is harmless, because each commit checks the ledger."""


def _record_batch(messages: Sequence[Message], settings: Settings) -> RecordBatch:
    keep = settings.kafka_headers == "keep"
    return RecordBatch(
        partitions=[message.partition() for message in messages],  # type: ignore[misc] # None only in errors
        offsets=[message.offset() for message in messages],  # type: ignore[misc]
        timestamps=[timestamp_of(message) for message in messages],
        keys=[message.key() for message in messages],
        values=[message.value() for message in messages],
        headers=[_Headers(settings, message) for message in messages] if keep else None,
    )


class _Headers(Sequence[tuple[str, bytes | None]]):
    """A record's headers, read on first access, because few records are quarantined."""

    def __init__(self, settings: Settings, message: Message) -> None:
        self._settings, self._message = settings, message

    @cached_property
    def _read(self) -> Sequence[tuple[str, bytes | None]]:
        return raw_headers.read(self._settings, self._message)

    def __len__(self) -> int:
        return len(self._read)

    def __getitem__(self, index: int) -> tuple[str, bytes | None]:  # type: ignore[override]
        return self._read[index]


class _GapCheckingReader:
    """Answers from the consumer's own positions if it can; otherwise reads the topic."""

    def __init__(self, topic_reader: KafkaTopicReader, consumer: PartitionConsumer) -> None:
        self._topic_reader, self._consumer = topic_reader, consumer
        self.topic, self.topic_id = topic_reader.topic, topic_reader.topic_id
        self.first_offset, self.request_topic_id_check = topic_reader.first_offset, topic_reader.request_topic_id_check

    def holds_records(self, partition: int, start: int, end: int) -> bool:
        """Whether the range holds records. A long range of aborted records takes minutes, so it is read only once."""
        return not self._consumer.has_proven_empty(partition, start, end) and self._topic_reader.holds_records(
            partition, start, end
        )
