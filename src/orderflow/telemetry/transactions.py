"""Metrics of each transaction, sent by the thread or worker process that ran it to the process that serves metrics.

They are datagrams on a Unix socket in the sink's scratch folder: the sender never waits, and a datagram that cannot be
received is dropped. Rejected: prometheus_client's multiprocess mode. It keeps the files of workers that have ended, and
a worker is killed (SIGBUS) if a full /dev/shm has no page for its file.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import msgspec

from orderflow.store.commit_result import CommitResult, Timing
from orderflow.store.record_batch import RecordBatch

log = logging.getLogger(__name__)

# Upper bounds in seconds; one more bucket counts everything above the last one.
LATENCY_BUCKETS = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300)
_SOCKET = "metrics"
_MAX_DATAGRAM = 65_536  # bytes


class TransactionMetrics(msgspec.Struct, frozen=True):
    """One transaction: the records that it quarantined, by reason, and the duration of its steps.

    The latency of a record is the time from Kafka's timestamp to the commit. `latency_counts` are the records in each
    of LATENCY_BUCKETS, and `latency_sum` is in seconds.
    """

    quarantined: dict[str, int]
    timing: Timing
    latency_counts: list[int]
    latency_sum: float


def measure(batch: RecordBatch, committed: CommitResult, timing: Timing, now: float) -> TransactionMetrics:
    """The metrics of the transaction that committed this batch at `now` (seconds since 1970 UTC).

    Records that an earlier transaction has committed are not measured again. They are taken to be the oldest.
    """
    timestamps = sorted(batch.timestamps)  # sorting is fast: they arrive almost sorted
    timestamps = timestamps[max(0, len(timestamps) - committed.records) :]
    timestamps = timestamps[bisect_left(timestamps, 0) :]  # -1 means no timestamp
    older_counts = [bisect_left(timestamps, (now - bound) * 1000) for bound in LATENCY_BUCKETS]
    return TransactionMetrics(
        dict(committed.quarantined),
        timing,
        [more - less for more, less in pairwise((len(timestamps), *older_counts, 0))],
        # At least 0: a counter's sum must not decrease if a producer's clock is ahead.
        max(0.0, now * len(timestamps) - sum(timestamps) / 1000),
    )


def send_metrics(scratch: Path, batch: RecordBatch, committed: CommitResult, timing: Timing | None) -> None:
    """Send the metrics of a commit that has just returned. `timing` is None if the batch had no new records."""
    if timing is None:
        return
    transaction = msgspec.msgpack.encode(measure(batch, committed, timing, time.time()))
    # Ignore a missing or slow receiver: an order never waits for a metric.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(transaction, socket.MSG_DONTWAIT, str(scratch / _SOCKET))


@contextmanager
def receive_metrics(scratch: Path, on_transaction: Callable[[TransactionMetrics], None]) -> Iterator[None]:
    """Call `on_transaction` with each transaction that arrives, in another thread, while the block runs."""
    decode = msgspec.msgpack.Decoder(TransactionMetrics).decode

    def receive() -> None:
        while transaction := receiver.recv(_MAX_DATAGRAM):
            try:
                on_transaction(decode(transaction))
            except msgspec.MsgspecError as error:
                log.warning("The metrics of a transaction cannot be read: %s.", error)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        try:
            receiver.bind(str(scratch / _SOCKET))
        except OSError as error:
            log.warning("Transaction metrics are not available: no socket in %s (%s).", scratch, error)
            yield
            return
        thread = threading.Thread(target=receive, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            receiver.shutdown(socket.SHUT_RDWR)  # ends recv
            thread.join()
