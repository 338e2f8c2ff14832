"""The store's one way in: a run of raw records of one partition becomes one transaction.

Orders, quarantine, rollup and the ledger's position move together or not at all. Whoever calls may die, repeat a
run, overlap with another caller or lose the reply: the ledger row's lock and its position decide what is new.
"""

from __future__ import annotations

import random
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pyarrow as pa

from orderflow.errors import Contention, DatabaseRefused, LedgerGap, RecordRejected, TooManyRejected
from orderflow.order import Reason
from orderflow.reading import read
from orderflow.settings import Settings
from orderflow.store import ledger, orders, quarantine, rollup
from orderflow.store.connection import Connection, LocalInfileOffError, RowsRefusedError
from orderflow.store.orders import LeftOut, Stamp
from orderflow.store.quarantine import Bad
from orderflow.store.run import Row, Run, Source

_CONTENTION_ATTEMPTS = 20
_LONGEST_WAIT = 2.0  # seconds between two of them
# How many of the last records decide whether too many are rejected: enough to be no accident, and not all of a day.
_LEAST_JUDGED, _MOST_JUDGED = 1_000, 100_000


Refused = tuple[Row, RecordRejected]


class Committed(NamedTuple):
    """What one transaction made of a run. Records that an earlier one had accounted for count nowhere."""

    stored: int = 0
    duplicates: int = 0
    quarantined: Counter[str] = Counter()  # by reason
    unknown_fields: Counter[str] = Counter()


class Timing(NamedTuple):
    """Seconds that each step of a transaction took, and how many attempts before it met contention."""

    lock: float  # of the ledger's row; with it, the look into a gap
    decode: float
    write: float  # of the orders
    account: float  # conflicts, quarantine, rollup, ledger
    commit: float
    contentions: int = 0


class Writer:
    """Commits runs over one connection, which it keeps. Not for use by two threads at once."""

    def __init__(self, settings: Settings, source: Source, folder: Path | None = None) -> None:
        """Connect. LOAD DATA's files lie in a fresh folder under `folder` (default: the system's temporary one).

        Raises DatabaseUnavailable or DatabaseRefused.
        """
        self._settings = settings
        self._source = source
        self._folder = tempfile.TemporaryDirectory(prefix="orderflow-load-", dir=folder)
        self._infile = Path(self._folder.name).resolve() / "orders.tsv"
        self._judged = 0, 0  # records, and how many of them were rejected
        self.timing: Timing | None = None  # of the last commit; None if it found nothing new
        self._connection = Connection(settings, infile_folder=self._infile.parent)
        with suppress(DatabaseRefused):  # MySQL lets administrators alone; see orders._left_out
            self._connection.run("set_warnings")
        self.uses_load_data = bool(self._connection.run("select_local_infile").rows[0][0])
        self._connection.rollback()

    def close(self) -> None:
        """End the session and remove the files."""
        self._connection.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def commit(self, run: Run) -> Committed:
        """Account for every record of the run, exactly once.

        Raises LedgerGap (records lie before the run), TopicRecreated, TooManyRejected, DatabaseUnavailable,
        DatabaseRefused, and Contention after many attempts. Nothing of the run is stored then, or, if a COMMIT's reply
        was lost, all; the writer must be closed.
        """
        bisect, contentions, self.timing = False, 0, None
        for attempt in range(_CONTENTION_ATTEMPTS):
            try:
                committed = self._transaction(run, bisect)
                self.timing = self.timing and self.timing._replace(contentions=contentions)
                return committed
            except RowsRefusedError:
                # Rare, so it costs the good case nothing: all again, now looking for the rows at fault.
                self._connection.rollback()
                bisect = True
            except LocalInfileOffError:
                self._connection.rollback()
                self.uses_load_data = False
            except Contention:
                contentions += 1
                self._connection.rollback()
                time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.01 * 2**attempt)))  # noqa: S311
        raise Contention(
            f"Partition {run.partition}: {_CONTENTION_ATTEMPTS} transactions in a row met deadlocks or lock timeouts."
        )

    def _transaction(self, run: Run, bisect: bool) -> Committed:
        connection, source = self._connection, self._source
        laps = [time.perf_counter()]
        next_offset, stored_at = self._lock_ledger(run.partition)
        run = run.since(next_offset)
        if not run.offsets:
            connection.rollback()
            return Committed()
        if run.offsets[0] > next_offset and source.holds_records(run.partition, next_offset, run.offsets[0]):
            connection.rollback()
            raise LedgerGap(
                f"{source.topic} partition {run.partition} was handed over from offset {run.offsets[0]}, but records"
                f" from offset {next_offset} on are not accounted for.",
            )
        laps.append(time.perf_counter())
        reading = read(run.values, enforce_ranges=self._settings.order_ranges == "enforce")
        rows = orders.as_rows(reading.orders, run.offsets, run.timestamps)
        bad = [Bad(place, rejected) for place, rejected in reading.rejected]
        laps.append(time.perf_counter())
        stamp = Stamp(run.partition, stored_at)
        left_out, refused = self._write(rows, stamp) if not bisect else self._write_bisecting(rows, stamp)
        laps.append(time.perf_counter())
        conflicts = [(row, rejected) for row, there in left_out if (rejected := orders.conflict(row, there))]
        for row, rejected in (*conflicts, *refused):
            bad.append(Bad(bisect_left(run.offsets, row.offset), rejected, row.order.order_id))
        written = orders.without(rows, [row.offset for row, _ in (*left_out, *refused)])
        judged = self._judge(run, bad)
        quarantine.insert(connection, source, run, bad, stored_at)
        rollup.add(connection, written, run.partition)
        committed = Committed(
            stored=len(written),
            duplicates=len(left_out) - len(conflicts),
            quarantined=Counter(one.rejected.reason for one in bad),
            unknown_fields=reading.unknown_fields,
        )
        connection.run(
            "advance_ledger",
            (
                run.offsets[-1] + 1,
                committed.stored,
                committed.duplicates,
                len(bad),
                reading.unknown_fields.total(),
                source.topic,
                run.partition,
            ),
        )
        laps.append(time.perf_counter())
        connection.commit()
        laps.append(time.perf_counter())
        self._judged = judged
        lock, decode, write, account, commit = (end - start for start, end in pairwise(laps))
        self.timing = Timing(lock, decode, write, account, commit)
        return committed

    def _judge(self, run: Run, bad: Sequence[Bad]) -> tuple[int, int]:
        """How many of the last records there are now, and how many of them are rejected.

        Raises TooManyRejected, so that a wrong topic does not fill the disk.
        """
        seen, rejected = self._judged
        keep = min(1.0, (_MOST_JUDGED - len(run.offsets)) / max(1, seen))
        seen, rejected = round(seen * keep) + len(run.offsets), round(rejected * keep) + len(bad)
        if seen >= _LEAST_JUDGED and rejected > seen * self._settings.quarantine_max_share:
            reasons = Counter(one.rejected.reason for one in bad).most_common(3)
            raise TooManyRejected(
                f"{rejected:,} of the last {seen:,} records of {self._source.topic} are no orders"
                f" ({', '.join(f'{count:,} {reason}' for reason, count in reasons)} in partition {run.partition}).",
                hint="Is KAFKA_TOPIC the right topic? To keep them all in the quarantine, raise QUARANTINE_MAX_SHARE"
                f" (now {self._settings.quarantine_max_share:g}; 1: never stop).",
            )
        return seen, rejected

    def _lock_ledger(self, partition: int) -> tuple[int, datetime]:
        """The partition's next offset, locked until the transaction ends, and the transaction's time."""
        source, where = self._source, (self._source.topic, partition)
        found = self._connection.run("lock_ledger", where).rows
        if not found:  # a partition added while running
            ledger.open_partitions(
                self._connection, source.topic, source.topic_id, {partition: source.first_offset(partition)}
            )
            found = self._connection.run("lock_ledger", where).rows
        next_offset, topic_id, now = found[0]
        ledger.check_topic_id(source.topic, source.topic_id, topic_id)
        return next_offset, now

    def _write(self, rows: pa.Table, stamp: Stamp) -> tuple[list[LeftOut], list[Refused]]:
        if not len(rows):
            return [], []
        if self.uses_load_data:
            return orders.load(self._connection, rows, stamp, self._infile), []
        return orders.insert(self._connection, rows, stamp), []

    def _write_bisecting(self, rows: pa.Table, stamp: Stamp) -> tuple[list[LeftOut], list[Refused]]:
        """Write the rows, halving what the server refuses until the single rows at fault are found."""
        self._connection.run("savepoint")
        try:
            return self._write(rows, stamp)
        except RowsRefusedError as refusal:
            self._connection.run("rollback_to_savepoint")
            if len(rows) == 1:
                rejected = RecordRejected(Reason.REFUSED_BY_DATABASE, str(refusal))
                return [], [(row, rejected) for row in orders.each(rows)]
        middle = len(rows) // 2
        left, refused_left = self._write_bisecting(rows[:middle], stamp)
        right, refused_right = self._write_bisecting(rows[middle:], stamp)
        return left + right, refused_left + refused_right
