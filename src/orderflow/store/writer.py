"""The store's one way in: a run of raw records becomes one transaction.

Orders, quarantine, rollup and the ledger's position move together or not at all. Whoever calls may die, repeat a
run, overlap with another caller or lose the reply: the ledger's rows, locked, and their positions decide what is new.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
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
from orderflow.store.ledger import Advance
from orderflow.store.orders import LeftOut
from orderflow.store.quarantine import Bad
from orderflow.store.run import Row, Run, Source
from orderflow.store.turn import Turn

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

    lock: float  # of the ledger's rows; with it, the turn and the look into a gap
    decode: float
    write: float  # of the orders
    account: float  # conflicts, quarantine, rollup, ledger
    commit: float
    contentions: int = 0


class _Content(NamedTuple):
    """What was read in a run."""

    run: Run
    rows: pa.Table
    rejected: Sequence[tuple[int, RecordRejected]]
    unknown_fields: Sequence[tuple[int, Sequence[str]]]


class _NotNextError(Exception):
    """The run was written before it was sure to begin where the ledger ends, and it does not."""


class _Watch:
    """Adds up the seconds of each step."""

    def __init__(self) -> None:
        self.laps = dict.fromkeys(Timing._fields[:-1], 0.0)
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """What went by since the last lap was this step's."""
        now = time.perf_counter()
        self.laps[step] += now - self._last
        self._last = now


class Writer:
    """Commits runs over one connection, which it keeps. Not for use by two threads at once."""

    def __init__(self, settings: Settings, source: Source, folder: Path | None = None, *, alone: bool = True) -> None:
        """Connect. LOAD DATA's files lie in a fresh folder under `folder` (default: the system's temporary one).

        Not `alone` are writers each of which stores one of several partitions.

        Raises DatabaseUnavailable or DatabaseRefused.
        """
        self._settings = settings
        self._source = source
        self._alone = alone
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

    def commit(self, run: Run, turn: Turn | None = None) -> Committed:
        """Account for every record of the run, exactly once.

        With a turn, it may write while the run before it is committed by another writer.
        Raises LedgerGap (records lie before the run), TopicRecreated, TooManyRejected, DatabaseUnavailable,
        DatabaseRefused, and Contention after many attempts. Nothing of the run is stored then, or, if a COMMIT's reply
        was lost, all; the writer must be closed.
        """
        bisect, contentions, self.timing = False, 0, None
        if not run.offsets:
            return Committed()
        turn, watch = turn or Turn(), _Watch()
        content = self._read(run)
        watch.lap("decode")
        early = turn.await_second()
        watch.lap("lock")
        for attempt in range(_CONTENTION_ATTEMPTS):
            pause = 0.0
            try:
                committed = self._transaction(content, turn, watch, bisect=bisect, early=early)
                self.timing = self.timing and self.timing._replace(contentions=contentions)
                return committed
            except _NotNextError:
                pass  # it was written too early
            except RowsRefusedError:
                # Rare, so it costs the good case nothing: all again, now looking for the rows at fault.
                bisect = True
            except LocalInfileOffError:
                self.uses_load_data = False
            except Contention:
                contentions += 1
                pause = random.uniform(0, min(_LONGEST_WAIT, 0.01 * 2**attempt))  # noqa: S311
            self._connection.rollback()
            time.sleep(pause)
            turn.await_first()
            early = False
        partitions = ", ".join(map(str, sorted({*run.partitions})))
        raise Contention(
            f"Partition {partitions}: {_CONTENTION_ATTEMPTS} transactions in a row met deadlocks or lock timeouts."
        )

    def _read(self, run: Run) -> _Content:
        reading = read(run.values, enforce_ranges=self._settings.order_ranges == "enforce")
        rows = orders.as_rows(reading.orders, run, alone=self._alone)
        return _Content(run, rows, reading.rejected, reading.unknown_fields)

    def _transaction(self, content: _Content, turn: Turn, watch: _Watch, *, bisect: bool, early: bool) -> Committed:
        connection, source = self._connection, self._source
        if early:
            [(stored_at,)] = connection.run("select_now").rows
            left_out, refused = self._write(content.rows, stored_at)
            watch.lap("write")
            turn.await_ledger()
        positions, locked_at = self._lock_ledger(content.run, may_open=not early)
        turn.holds_ledger()
        run = content.run.since(positions)
        gap = self._gap(run, positions)
        watch.lap("lock")
        if early and (gap or run is not content.run):
            raise _NotNextError
        if not early:
            if gap or not run.offsets:
                connection.rollback()
                if gap:
                    raise gap
                return Committed()
            if run is not content.run:
                content = self._read(run)
                watch.lap("decode")
            stored_at = locked_at
            write = self._write_bisecting if bisect else self._write
            left_out, refused = write(content.rows, stored_at)
            watch.lap("write")
        bad = [Bad(place, rejected) for place, rejected in content.rejected]
        conflicts = [(row, rejected) for row, there in left_out if (rejected := orders.conflict(row, there))]
        bad += [Bad(row.place, rejected, row.order.order_id) for row, rejected in (*conflicts, *refused)]
        written = orders.without(content.rows, [row.place for row, _ in (*left_out, *refused)])
        judged = self._judge(run, bad)
        quarantine.insert(connection, source, run, bad, stored_at)
        rollup.add(connection, written)
        stored = Counter(written["kafka_partition"].to_pylist())
        duplicates = Counter(row.partition for row, _ in left_out) - Counter(row.partition for row, _ in conflicts)
        quarantined = Counter(run.partitions[one.place] for one in bad)
        unknown = Counter(run.partitions[place] for place, names in content.unknown_fields for _ in names)
        moves = {
            part: Advance(end, stored[part], duplicates[part], quarantined[part], unknown[part])
            for part, end in run.ends().items()
        }
        ledger.advance(connection, source.topic, source.topic_id, stored_at, moves)
        watch.lap("account")
        connection.commit()
        watch.lap("commit")
        self._judged = judged
        self.timing = Timing._make([*watch.laps.values(), 0])
        return Committed(
            stored=stored.total(),
            duplicates=duplicates.total(),
            quarantined=Counter(one.rejected.reason for one in bad),
            unknown_fields=Counter(name for _, names in content.unknown_fields for name in names),
        )

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
                f" ({', '.join(f'{count:,} {reason}' for reason, count in reasons)}).",
                hint="Is KAFKA_TOPIC the right topic? To keep them all in the quarantine, raise QUARANTINE_MAX_SHARE"
                f" (now {self._settings.quarantine_max_share:g}; 1: never stop).",
            )
        return seen, rejected

    def _lock_ledger(self, run: Run, *, may_open: bool) -> tuple[dict[int, int], datetime]:
        """The next offsets of the run's partitions, locked until the transaction ends, and the server's time."""
        source, partitions = self._source, {*run.partitions}
        found = ledger.lock(self._connection, source.topic, partitions)
        if added := partitions - found.keys():  # while running
            if not may_open:  # that commits
                raise _NotNextError
            first_offsets = {partition: source.first_offset(partition) for partition in added}
            ledger.open_partitions(self._connection, source.topic, source.topic_id, first_offsets)
            found = ledger.lock(self._connection, source.topic, partitions)
        for locked in found.values():
            ledger.check_topic_id(source.topic, source.topic_id, locked.topic_id)
        return {partition: locked.next_offset for partition, locked in found.items()}, locked.now

    def _gap(self, run: Run, positions: Mapping[int, int]) -> LedgerGap | None:
        """Whether records lie between the ledger's positions and the run."""
        source = self._source
        for partition, first in run.starts().items():
            position = positions[partition]
            if first > position and source.holds_records(partition, position, first):
                return LedgerGap(
                    f"{source.topic} partition {partition} was handed over from offset {first}, but records"
                    f" from offset {position} on are not accounted for.",
                )
        return None

    def _write(self, rows: pa.Table, stored_at: datetime) -> tuple[list[LeftOut], list[Refused]]:
        if not len(rows):
            return [], []
        if self.uses_load_data:
            return orders.load(self._connection, rows, stored_at, self._infile), []
        return orders.insert(self._connection, rows, stored_at), []

    def _write_bisecting(self, rows: pa.Table, stored_at: datetime) -> tuple[list[LeftOut], list[Refused]]:
        """Write the rows, halving what the server refuses until the single rows at fault are found."""
        self._connection.run("savepoint")
        try:
            return self._write(rows, stored_at)
        except RowsRefusedError as refusal:
            self._connection.run("rollback_to_savepoint")
            if len(rows) == 1:
                rejected = RecordRejected(Reason.REFUSED_BY_DATABASE, str(refusal))
                return [], [(row, rejected) for row in orders.each(rows)]
        middle = len(rows) // 2
        left, refused_left = self._write_bisecting(rows[:middle], stored_at)
        right, refused_right = self._write_bisecting(rows[middle:], stored_at)
        return left + right, refused_left + refused_right
