"""This process itself as the engine, without Spark: for one machine, in a tenth of the memory.

Rejected: a consumer group. Its members' positions would mean nothing here, the leadership lock and the ledger keep two
sinks apart already, and after a kill the group's session must expire (45 s by default) before anything flows.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import closing
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from orderflow import topic
from orderflow.errors import Interrupted
from orderflow.metrics import transactions
from orderflow.pipeline.engine import background, tune_memory
from orderflow.pipeline.source import TopicSource
from orderflow.settings import Settings
from orderflow.store.run import TRANSACTION_ROWS, Run
from orderflow.store.writer import Writer
from orderflow.topic import TopicInfo

# Threads with a connection each: they wait for MySQL most of the time.
_THREADS = 3
_POLL = 0.25  # seconds a thread waits for records before it looks whether it shall stop
_TOPIC_INTERVAL = 5.0  # seconds between two looks at the topic
# The topic was deleted, made again, or has lost records: the next start finds out, and names it.
_TOPIC_CHANGED = {
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
_TUNING = {
    "fetch.wait.max.ms": 100,
    "queued.min.messages": 2 * TRANSACTION_ROWS,
    "queued.max.messages.kbytes": 16 * 1024,  # of each thread; it bounds the memory
}


class DirectEngine:
    """See Engine. Each thread has some of the partitions, a consumer of its own and a writer of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._scratch: Path
        self._info: TopicInfo
        self._stopping = threading.Event()
        self._threads: list[Future[None]] = []
        self._looked = 0.0

    def open(self, scratch: Path) -> None:
        self._scratch = scratch
        tune_memory()

    def start(self, info: TopicInfo, positions: Mapping[int, int], *, once: bool) -> None:
        self._info, self._looked = info, time.monotonic()
        self._stopping = threading.Event()  # a new one: a thread that still waits for MySQL must see the old one set
        bounds = topic.bounds(self._settings, info.partitions) if once else {}
        ends = {partition: bound.end for partition, bound in bounds.items() if positions[partition] < bound.end}
        partitions = sorted(ends if once else positions)
        shares = [partitions[start::_THREADS] for start in range(min(_THREADS, len(partitions)))]
        self._threads = [
            background(
                f"direct-{number}",
                lambda share=share, stopping=self._stopping: self._carry(  # type: ignore[misc]
                    {partition: positions[partition] for partition in share}, ends, stopping
                ),
            )
            for number, share in enumerate(shares)
        ]

    def wait(self, seconds: float) -> bool:
        done, running = wait(self._threads, seconds, FIRST_EXCEPTION)
        for thread in done:
            thread.result()
        if running and time.monotonic() - self._looked > _TOPIC_INTERVAL:
            self._looked = time.monotonic()
            if added := set(topic.describe(self._settings).partitions).difference(self._info.partitions):
                raise Interrupted(f"Topic {self._info.name} has new partitions: {', '.join(map(str, sorted(added)))}.")
        return not running

    def activity(self) -> str:
        running = sum(not thread.done() for thread in self._threads)
        return f"{running} of {len(self._threads)} threads wait for Kafka or MySQL"

    def finish(self, seconds: float) -> None:
        self._stopping.set()
        wait(self._threads, seconds)

    def stop(self) -> None:
        self._stopping.set()

    def close(self) -> None:
        """Nothing is left to end: a thread that still waits for MySQL cannot do harm, by the ledger."""

    def _carry(self, positions: Mapping[int, int], ends: Mapping[int, int], stopping: threading.Event) -> None:
        """Commit what comes from these offsets on, until told to stop; with `ends`, until these have been reached."""
        name, source = self._settings.kafka_topic, TopicSource(self._settings, self._info.topic_id)
        unread = {partition: end for partition, end in ends.items() if partition in positions}
        with (
            topic.errors_told(self._settings),
            closing(topic.consumer(self._settings, **_TUNING, **{"enable.partition.eof": bool(ends)})) as consumer,
            Writer(self._settings, source, self._scratch) as writer,
        ):
            consumer.assign([TopicPartition(name, partition, offset) for partition, offset in positions.items()])
            while not stopping.is_set():
                first = consumer.poll(_POLL)
                if first is None:
                    continue
                runs: defaultdict[int, list[Message]] = defaultdict(list)
                # What else has arrived by now: with a timeout, consume would wait for all of them.
                for message in (first, *consumer.consume(TRANSACTION_ROWS - 1, timeout=0)):
                    partition, error = message.partition(), message.error()
                    if error is None:
                        assert partition is not None
                        runs[partition].append(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        offset = message.offset()
                        assert partition is not None and offset is not None
                        if offset >= unread.get(partition, offset + 1):
                            del unread[partition]
                    elif error.code() in _TOPIC_CHANGED:
                        raise Interrupted(f"{name} partition {partition} cannot be read on: {error.str()}.")
                    else:
                        raise KafkaException(error)
                for partition, messages in runs.items():
                    run = self._run(partition, messages)
                    committed = writer.commit(run)
                    if self._settings.sink_metrics_port:
                        transactions.tell(self._scratch, run, committed, writer.timing)
                if ends and not unread:
                    return

    def _run(self, partition: int, messages: Sequence[Message]) -> Run:
        keep = self._settings.kafka_headers == "keep"
        return Run(
            partition,
            offsets=[message.offset() for message in messages],  # type: ignore[misc] # None only in errors
            timestamps=[message.timestamp()[1] for message in messages],
            keys=[message.key() for message in messages],
            values=[message.value() for message in messages],
            headers=[message.headers() or () for message in messages] if keep else None,  # type: ignore[misc]
        )
