"""The flow: the records of some partitions, from Kafka into the store, until it is told to stop.

Whoever starts it, this process or a task of Spark's, reads, checks and writes here. Rejected: a consumer group. Its
members' positions would mean nothing here, the leadership lock and the ledger keep two sinks apart already, and after a
kill the group's session must expire (45 s by default) before anything flows.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from orderflow import topic
from orderflow.errors import Interrupted, LedgerGap, OrderFlowError
from orderflow.metrics import transactions
from orderflow.pipeline.engine import background
from orderflow.pipeline.source import TopicSource
from orderflow.settings import Settings
from orderflow.store import ledger
from orderflow.store.connection import Connection
from orderflow.store.run import TRANSACTION_ROWS, Run
from orderflow.store.turn import Turn
from orderflow.store.writer import Writer

_THREADS = 3  # with a connection each: two of them write, see Turn, while another one reads
_POLL = 0.25  # seconds to wait for records before a look whether to stop
# The topic was deleted, made again, or has lost records: the next start finds out, and names it.
_TOPIC_CHANGED = {
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
_FEW = 1000  # records: to write them beside another transaction costs more than to wait for it, and for some more
_AHEAD = 2 * TRANSACTION_ROWS  # records that are there to choose from, see _Reader
_QUEUED = 2 * TRANSACTION_ROWS  # records that wait in the client, of all partitions together
_TUNING = {
    "fetch.wait.max.ms": 100,
    "queued.max.messages.kbytes": 32 * 1024,  # it bounds the memory; that it is reached should be rare, see _Reader
    "fetch.message.max.bytes": 256 * 1024,  # of a partition at a time: if it holds no batch, only one of them is served
    "fetch.queue.backoff.ms": 10,  # by default the client rests for a second when enough is queued
}


class Flow(NamedTuple):
    """Some partitions from the ledger's positions on, by three threads that share a consumer and take turns.

    With `ends`, until these offsets have been reached. `folder` is where LOAD DATA's files go and metrics are told.
    Not `alone` is a flow beside others that have other partitions.
    """

    source: TopicSource
    partitions: Sequence[int]
    ends: Mapping[int, int] | None
    folder: Path | None
    stopping: threading.Event
    alone: bool = True

    def run(self) -> None:
        """Commit what comes, until `stopping` is set.

        Raises the class of its failure.
        """
        with Connection(self.source.settings) as connection:
            mine = [entry for entry in ledger.entries(connection) if entry.topic == self.source.topic]
        positions = {entry.partition: entry.next_offset for entry in mine if entry.partition in self.partitions}
        with _Reader(self.source.settings, positions, self.ends, self.stopping) as reader:
            threads = [background(f"flow-{number}", lambda: self._carry(reader)) for number in range(_THREADS)]
            done, _ = wait(threads, return_when=FIRST_EXCEPTION)
            self.stopping.set()
            wait(threads)
            for thread in done:
                thread.result()

    def _carry(self, reader: _Reader) -> None:
        settings = self.source.settings
        with (
            topic.errors_told(settings),
            Writer(settings, self.source, self.folder, alone=self.alone) as writer,
        ):
            while arrived := reader.next():
                turn, messages = arrived
                with turn:
                    run = _as_run(messages, headers=settings.kafka_headers == "keep")
                    try:
                        committed = writer.commit(run, turn)
                    except LedgerGap:
                        if reader.stopping.is_set():  # the run before it has failed, and says why
                            return
                        raise
                    except OrderFlowError:
                        reader.stopping.set()
                        raise
                if settings.sink_metrics_port and self.folder:
                    transactions.tell(self.folder, run, committed, writer.timing)


def _as_run(messages: Sequence[Message], *, headers: bool) -> Run:
    return Run(
        partitions=[message.partition() for message in messages],  # type: ignore[misc] # None only in errors
        offsets=[message.offset() for message in messages],  # type: ignore[misc]
        timestamps=[_time(message) for message in messages],
        keys=[message.key() for message in messages],
        values=[message.value() for message in messages],
        headers=[message.headers() or () for message in messages] if headers else None,  # type: ignore[misc]
    )


class _Reader:
    """The records from some positions on, for several threads, until `stopping` is set or the ends are reached.

    The partitions are read in step, each with its share of the queue, and of a backlog the oldest records are handed
    out first: orders that were made together are stored together. So the table is filled from one end, its pages once;
    where a transaction takes what has come, they are filled several times, and split into halves.
    """

    def __init__(
        self,
        settings: Settings,
        positions: Mapping[int, int],
        ends: Mapping[int, int] | None,
        stopping: threading.Event,
    ) -> None:
        """Raises KafkaUnavailable and its kin."""
        self.stopping = stopping
        self._topic = settings.kafka_topic
        self._unread = (
            None if ends is None else {part: ends[part] for part in positions if positions[part] < ends[part]}
        )
        self._reading = threading.Lock()
        self._last: Turn | None = None
        self._waiting: dict[int, list[Message]] = {}  # by partition: what has come
        wanted = positions if self._unread is None else self._unread
        queued = {"queued.min.messages": _QUEUED // max(1, len(wanted))}
        with topic.errors_told(settings):
            self._consumer = topic.consumer(settings, **_TUNING, **queued, **{"enable.partition.eof": ends is not None})
            self._consumer.assign(
                [TopicPartition(self._topic, partition, positions[partition]) for partition in wanted]
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._consumer.close()

    def next(self) -> tuple[Turn, list[Message]] | None:
        """Some records and their turn to be committed; None if no more shall come.

        Raises Interrupted and KafkaException.
        """
        with self._reading:
            while not self.stopping.is_set() and (self._waiting or self._unread != {}):
                if not (count := self._receive(_POLL)):
                    continue
                if count < _FEW and self._last:
                    self._last.await_end()
                    self._receive(0)
                self._last = Turn(self._last)
                return self._last, self._take()
        return None

    def _receive(self, seconds: float) -> int:
        """Let in what has come; if nothing waits, wait so long for it. Gives back how many records wait now."""
        arrived = [] if self._waiting else self._arrived(1, seconds)
        count = sum(map(len, self._waiting.values())) + len(arrived)
        arrived += self._arrived(_AHEAD - count, 0)
        for message in arrived:
            self._waiting.setdefault(message.partition(), []).append(message)  # type: ignore[arg-type] # as in _as_run
        return count + len(arrived)

    def _take(self) -> list[Message]:
        counts = oldest(self._waiting, TRANSACTION_ROWS)
        taken = [message for partition, waiting in self._waiting.items() for message in waiting[: counts[partition]]]
        left = {partition: waiting[counts[partition] :] for partition, waiting in self._waiting.items()}
        self._waiting = {partition: waiting for partition, waiting in left.items() if waiting}
        return taken

    def _arrived(self, most: int, seconds: float) -> list[Message]:
        """The records that have come, and those that come in these seconds until there are so many."""
        return [message for message in self._consumer.consume(most, seconds) if self._is_record(message)]

    def _is_record(self, message: Message) -> bool:
        """Or else the end of a partition, which may be one that is waited for."""
        partition, error = message.partition(), message.error()
        if error is None:
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            offset = message.offset()
            assert partition is not None and offset is not None
            if self._unread and offset >= self._unread.get(partition, offset + 1):
                del self._unread[partition]
            return False
        self.stopping.set()  # nobody shall read on behind what has arrived with this
        if error.code() in _TOPIC_CHANGED:
            raise Interrupted(f"{self._topic} partition {partition} cannot be read on: {error.str()}.")
        raise KafkaException(error)


def oldest(waiting: Mapping[int, Sequence[Message]], most: int) -> dict[int, int]:
    """How many of each partition's first records to take, `most` of all at most: of more than that, the oldest."""
    counts = {partition: len(records) for partition, records in waiting.items()}
    if sum(counts.values()) <= most:
        return counts
    # Each 16th stands for those up to the next one, so there are not more than `most` before the cut.
    cut = sorted([_time(record) for records in waiting.values() for record in records[::16]])[most // 16]
    counts = {partition: bisect_left(records, cut, key=_time) for partition, records in waiting.items()}
    if most // 2 <= sum(counts.values()) <= most:
        return counts
    # Their times say nothing.
    return {partition: min(len(records), most // len(waiting)) for partition, records in waiting.items()}


def _time(message: Message) -> int:
    return message.timestamp()[1]
