"""What each transaction did, told by whoever made it (a worker process, a thread) to the process that serves metrics.

By datagrams on a Unix socket in the sink's scratch folder: the teller never waits, and what nobody takes is dropped.
Rejected: prometheus_client's multiprocess mode. The files of every worker that ever was stay, and a worker dies
(SIGBUS) where a full /dev/shm has no page for its file.
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

from orderflow.store.run import Run
from orderflow.store.writer import Committed, Timing

log = logging.getLogger(__name__)

# Upper bounds in seconds, and above the last one.
LATENCY_BUCKETS = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300)
_SOCKET = "metrics"
_LONGEST = 65_536  # bytes of a datagram


class Transaction(msgspec.Struct, frozen=True):
    """One transaction: what it quarantined, by reason, and how long its steps took.

    `late` counts its records by LATENCY_BUCKETS, from Kafka's timestamp to the commit; `late_sum` is in seconds.
    """

    quarantined: dict[str, int]
    timing: Timing
    late: list[int]
    late_sum: float


def of(run: Run, committed: Committed, timing: Timing, now: float) -> Transaction:
    """The transaction that committed this run at `now` (seconds since 1970 UTC)."""
    produced = sorted(run.timestamps)  # nearly sorted as they come
    produced = produced[bisect_left(produced, 0) :]  # -1 is none
    later = [bisect_left(produced, (now - bound) * 1000) for bound in LATENCY_BUCKETS]
    return Transaction(
        dict(committed.quarantined),
        timing,
        [more - less for more, less in pairwise((len(produced), *later, 0))],
        max(0.0, now * len(produced) - sum(produced) / 1000),  # a sum must not fall where a producer's clock is ahead
    )


def tell(scratch: Path, run: Run, committed: Committed, timing: Timing | None) -> None:
    """Tell of a commit that has just returned (`timing` as the writer has it; None: nothing new)."""
    if timing is None:
        return
    told = msgspec.msgpack.encode(of(run, committed, timing, time.time()))
    # Nobody listens, or not fast enough: no order waits for a metric.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        teller.sendto(told, socket.MSG_DONTWAIT, str(scratch / _SOCKET))


@contextmanager
def heard(scratch: Path, listener: Callable[[Transaction], None]) -> Iterator[None]:
    """Hand each transaction that is told of to `listener`, in a thread of its own, while the block lasts."""
    decode = msgspec.msgpack.Decoder(Transaction).decode

    def listen() -> None:
        while told := ear.recv(_LONGEST):
            listener(decode(told))

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        try:
            ear.bind(str(scratch / _SOCKET))
        except OSError as error:
            log.warning("Transactions are not measured: no socket in %s (%s).", scratch, error)
            yield
            return
        thread = threading.Thread(target=listen, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ear.shutdown(socket.SHUT_RDWR)  # wakes it
            thread.join()
