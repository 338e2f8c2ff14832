"""One transaction for a batch of raw records: orders, quarantine, rollup and the ledger's positions change together.

The steps, with the numbers that the code uses:

1. Lock the ledger's rows of the batch's partitions, in ascending order.
2. Drop the records below each partition's next offset: they are committed already.
3. If a partition's first record is beyond its next offset, check whether the topic holds records in the gap.
4. Write the orders, and find out which rows the server skipped because their order_id exists.
5. Count duplicates; put conflicts, rejected records and refused rows into the quarantine.
6. Add to the rollup, advance the ledger, COMMIT.

The caller may crash, repeat a batch, overlap with another caller or lose the reply: the locked rows of the ledger and
their positions decide what is new. While another writer commits the previous batch, step 4 may come first: see
`CommitTicket`.

If the server refuses rows of a batch, or a transaction of its size, the batch is split into small transactions. Each
advances the ledger, so that the pipeline makes progress and no connection holds its locks for long. Rejected: a binary
search for the refused rows within one transaction. With 10,000 refused rows and a latency of 1 ms it took minutes.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pyarrow as pa

from orderflow.contract import loader
from orderflow.contract.definition import Reason
from orderflow.contract.fast_path import decode_batch
from orderflow.contract.order_ranges import ranges_of
from orderflow.errors import (
    Contention,
    DatabaseRefused,
    LedgerGap,
    RecordRejected,
    UnknownDatabaseError,
)
from orderflow.settings import Settings
from orderflow.store import contention, contracts, ledger, orders, quarantine, rollup
from orderflow.store.commit_ticket import CommitTicket
from orderflow.store.connection import (
    LOCK_WAIT,
    Connection,
    LocalInfileOffError,
    RowsRefusedError,
    TransactionTooLargeError,
)
from orderflow.store.ledger import Advance, LastRecord, LockedPosition
from orderflow.store.orders import Refused, RowsAlteredError, SkippedRow
from orderflow.store.quarantine import RejectedRecord
from orderflow.store.record_batch import RecordBatch, TopicReader
from orderflow.store.rejected_share import WINDOW_RECORDS, RejectedShare

_SMALL_TRANSACTION_RECORDS = 1_000  # after a refusal
# Seconds. If the machine of a writer is gone in the middle of a transaction, its locks stay for so long.
_IDLE_TIMEOUT = 600


class Committed(NamedTuple):
    """The outcome of a batch. Records that an earlier transaction accounted for are not counted."""

    stored: int = 0
    duplicates: int = 0
    quarantined: Counter[str] = Counter()  # by reason
    unknown_fields: Counter[str] = Counter()

    @property
    def records(self) -> int:
        """The number of records."""
        return self.stored + self.duplicates + self.quarantined.total()

    def plus(self, other: Committed) -> Committed:
        """Return the sum of both."""
        return Committed(
            self.stored + other.stored,
            self.duplicates + other.duplicates,
            self.quarantined + other.quarantined,
            self.unknown_fields + other.unknown_fields,
        )


class Timing(NamedTuple):
    """Seconds that each step of a transaction took, and the number of earlier attempts that met contention."""

    lock: float  # of the ledger's rows, with the waits for the predecessor and the check of the gap
    decode: float
    write: float  # of the orders
    account: float  # conflicts, quarantine, rollup, ledger
    commit: float
    contentions: int = 0


class _DecodedBatch(NamedTuple):
    """A batch, and the contract's results for its records."""

    batch: RecordBatch
    rows: pa.Table
    rejected: Sequence[tuple[int, RecordRejected]]
    unknown_fields: pa.Table  # name and batch_index


class OutOfOrderError(Exception):
    """A batch that was written speculatively does not begin at the ledger's positions."""


class _StepTimer:
    """Adds up the seconds of each step."""

    def __init__(self) -> None:
        self.laps = dict.fromkeys(Timing._fields[:-1], 0.0)
        self.contentions = 0
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """Add the time since the last lap to this step."""
        now = time.perf_counter()
        self.laps[step] += now - self._last
        self._last = now


class Writer:
    """Commits batches over one connection, which it keeps open. Not thread-safe."""

    def __init__(
        self,
        settings: Settings,
        topic_reader: TopicReader,
        folder: Path | None = None,
        *,
        single_writer: bool = True,
        lock_wait: int = LOCK_WAIT,
        max_attempts: int = contention.ATTEMPTS,
        window_records: int = WINDOW_RECORDS,
        idle_timeout: int = _IDLE_TIMEOUT,
    ) -> None:
        """Connect. LOAD DATA's files are in a new folder under `folder` (default: the system's temporary folder).

        `single_writer` decides the order of a transaction's rows, see `orders.as_rows`. True: no other writer stores
        order_ids between those of a batch. That holds for Spark's only task if the topic has one partition. It also
        holds for the threads of the direct engine, because each of their batches has the oldest records of all
        partitions. False: each writer stores one of several partitions, so the order_ids of the writers alternate.

        A statement waits `lock_wait` seconds for a row lock. A batch is given up after `max_attempts` transactions that
        met contention. The last `window_records` records decide whether too many are rejected. After `idle_timeout`
        seconds without a statement, the server ends the session; the writer connects again before that.

        Raises what Connection raises.
        """
        self._settings = settings
        self._topic_reader = topic_reader
        self._single_writer = single_writer
        self._max_attempts = max_attempts
        self._rejected_share = RejectedShare(settings, topic_reader.topic, window_records)
        self._folder = tempfile.TemporaryDirectory(prefix="orderflow-load-", dir=folder)
        self._infile = Path(self._folder.name).resolve() / "orders.tsv"
        self.timing: Timing | None = None  # of the last commit; None if it found nothing new
        self._check_identity: Callable[[], None] = lambda: None  # of the current batch: set by `commit`
        self._lock_wait, self._idle_timeout = lock_wait, idle_timeout
        self._connect()
        self._contract = loader.contract_of(settings)
        self._contract_id = contracts.current_id(self._connection)
        self._ranges = ranges_of(settings)

    def _connect(self) -> None:
        self._connection = Connection(
            self._settings,
            infile_folder=self._infile.parent,
            lock_wait=self._lock_wait,
            idle_timeout=self._idle_timeout,
        )
        with suppress(DatabaseRefused):  # MySQL allows it to administrators only; it only saves a query of the table
            self._connection.execute("set_warnings")
        self.uses_load_data = bool(self._connection.execute("select_local_infile").rows[0][0])
        self._connection.rollback()
        self._used_at = time.monotonic()

    def close(self) -> None:
        """End the session and remove the files."""
        self._connection.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def commit(self, batch: RecordBatch, ticket: CommitTicket | None = None) -> Committed:
        """Account for every record of the batch, exactly once.

        With a `ticket`, the orders may be written while another writer commits the previous batch.

        Raises LedgerGap (the topic holds records before the batch), TopicRecreated, DatabaseUnavailable,
        UnknownDatabaseError, DatabaseRefused, and Contention after `max_attempts` attempts. Then nothing of the batch
        is stored; or the first records of each partition, if it was split; or all of it, if a COMMIT's reply was lost.
        Raises TooManyRejected after the whole batch is stored. After LedgerGap, the batch may be committed again; after
        another error, the writer must be closed.
        """
        self.timing = None
        if not batch.offsets:
            return Committed()
        if time.monotonic() - self._used_at > self._idle_timeout / 2:
            self._connection.close()
            self._connect()
        # Request the topic's id now and compare it before COMMIT. An unchanged id proves that the topic was not
        # recreated.
        self._check_identity = self._topic_reader.request_identity_check()
        ticket, timer = ticket or CommitTicket(), _StepTimer()
        decoded = self._decode(batch)
        timer.lap("decode")
        speculative = ticket.wait_for_predecessor_start()
        timer.lap("lock")
        try:
            committed = self._commit_with_retries(decoded, batch.next_offsets(), ticket, timer, speculative=speculative)
        except (RowsRefusedError, RowsAlteredError, TransactionTooLargeError):
            # Rare: retry the whole batch, now searching for the rows at fault.
            self._start_again(ticket)
            committed = self._commit_in_small_transactions(batch, ticket, timer)
        self._used_at = time.monotonic()
        rejected = committed.quarantined
        self._rejected_share.add(committed.records, rejected.total(), dict(rejected.most_common(3)))
        return committed

    def _commit_in_small_transactions(self, batch: RecordBatch, ticket: CommitTicket, timer: _StepTimer) -> Committed:
        """Split the batch into small transactions, each of which finds the rows that the server refuses."""
        committed = Committed()
        for small_batch, next_offsets in _split(batch):
            decoded = self._decode(small_batch)
            timer.lap("decode")
            committed = committed.plus(
                self._commit_with_retries(decoded, next_offsets, ticket, timer, isolate_refused=True)
            )
        return committed

    def _commit_with_retries(
        self,
        decoded: _DecodedBatch,
        next_offsets: Mapping[int, int],
        ticket: CommitTicket,
        timer: _StepTimer,
        *,
        speculative: bool = False,
        isolate_refused: bool = False,
    ) -> Committed:
        """Execute one transaction, and retry it after contention.

        `next_offsets` maps each partition to its next offset after the transaction.
        """
        for after_contention in contention.pauses(self._max_attempts):
            pause = 0.0
            try:
                if speculative:
                    return self._commit_speculatively(decoded, next_offsets, ticket, timer)
                return self._commit_in_order(decoded, next_offsets, ticket, timer, isolate_refused=isolate_refused)
            except OutOfOrderError:
                pass  # retried in order
            except LocalInfileOffError:
                self.uses_load_data = False
            except Contention:
                timer.contentions += 1
                pause = after_contention
            self._start_again(ticket, pause)
            speculative = False
        raise Contention(
            contention.exhausted_message(decoded.batch.describe(self._topic_reader.topic), self._max_attempts)
        )

    def _start_again(self, ticket: CommitTicket, pause: float = 0.0) -> None:
        self._connection.rollback()
        time.sleep(pause)
        ticket.wait_for_predecessor_end()

    def _decode(self, batch: RecordBatch) -> _DecodedBatch:
        values = decode_batch(batch.values, self._contract, self._ranges)
        rows = orders.as_rows(values.orders, batch, self._contract, single_writer=self._single_writer)
        return _DecodedBatch(batch, rows, values.rejected, values.unknown_fields)

    def _commit_speculatively(
        self, decoded: _DecodedBatch, next_offsets: Mapping[int, int], ticket: CommitTicket, timer: _StepTimer
    ) -> Committed:
        """Do step 4 while the predecessor commits; then steps 1 to 3 must leave the batch unchanged.

        Raises OutOfOrderError if they do not.
        """
        # 4. Write the orders.
        [(stored_at,)] = self._connection.execute("select_now").rows
        skipped_rows = self._write(decoded.rows, stored_at)
        timer.lap("write")
        # 1. Lock the ledger's rows.
        ticket.wait_for_predecessor_lock()
        locked = self._lock_ledger(decoded.batch, may_add_partitions=False)
        positions = _positions(locked)
        ticket.mark_ledger_locked()
        # 2 and 3. No record is stored already, and none is missing.
        in_order = decoded.batch.from_positions(positions) is decoded.batch and not self._gap(decoded.batch, positions)
        timer.lap("lock")
        if not in_order:
            raise OutOfOrderError
        return self._account_and_commit(decoded, next_offsets, locked, stored_at, skipped_rows, (), timer)

    def _commit_in_order(
        self,
        decoded: _DecodedBatch,
        next_offsets: Mapping[int, int],
        ticket: CommitTicket,
        timer: _StepTimer,
        *,
        isolate_refused: bool,
    ) -> Committed:
        """Do steps 1 to 6. With `isolate_refused`, find the rows that the server refuses."""
        # 1. Lock the ledger's rows.
        locked = self._lock_ledger(decoded.batch, may_add_partitions=True)
        positions, stored_at = _positions(locked), next(iter(locked.values())).now
        ticket.mark_ledger_locked()
        # 2. Drop the records that are stored already.
        batch = decoded.batch.from_positions(positions)
        # 3. Check the gap before the first record.
        gap = self._gap(batch, positions)
        timer.lap("lock")
        if gap or not batch.offsets:
            self._connection.rollback()
            if gap:
                raise gap
            return Committed()
        if batch is not decoded.batch:
            decoded = self._decode(batch)
            timer.lap("decode")
        # 4. Write the orders.
        skipped_rows: Sequence[SkippedRow]
        refused: Sequence[Refused] = ()
        if isolate_refused:
            skipped_rows, refused = self._write_except_refused(decoded, stored_at)
        else:
            skipped_rows = self._write(decoded.rows, stored_at)
        timer.lap("write")
        return self._account_and_commit(decoded, next_offsets, locked, stored_at, skipped_rows, refused, timer)

    def _account_and_commit(  # noqa: PLR0917
        self,
        decoded: _DecodedBatch,
        next_offsets: Mapping[int, int],
        locked: Mapping[int, LockedPosition],
        stored_at: datetime,
        skipped_rows: Sequence[SkippedRow],
        refused: Sequence[Refused],
        timer: _StepTimer,
    ) -> Committed:
        """Do steps 5 and 6, which both ways share."""
        connection, topic_reader, batch = self._connection, self._topic_reader, decoded.batch
        # 5. Count duplicates; put conflicts, rejected records and refused rows into the quarantine.
        conflicts = [
            (row, rejected)
            for row, existing_row in skipped_rows
            if (rejected := orders.conflict(self._contract, row, existing_row))
        ]
        bad = [RejectedRecord(batch_index, rejected) for batch_index, rejected in decoded.rejected]
        bad += [RejectedRecord(row.batch_index, rejected, row.order.order_id) for row, rejected in conflicts]
        bad += [
            RejectedRecord(row.batch_index, RecordRejected(Reason.REFUSED_BY_DATABASE, detail), row.order.order_id)
            for row, detail, _ in refused
        ]
        quarantine.insert(connection, topic_reader, batch, bad, stored_at)
        # 6. Add to the rollup, advance the ledger, COMMIT.
        not_written = [*(row.batch_index for row, _ in skipped_rows), *(row.batch_index for row, *_ in refused)]
        written = orders.exclude(decoded.rows, not_written)
        rollup.add(connection, written)
        stored = Counter(written["kafka_partition"].to_pylist())
        duplicates = Counter(row.partition for row, _ in skipped_rows) - Counter(row.partition for row, _ in conflicts)
        quarantined = Counter(batch.partitions[one.batch_index] for one in bad)
        unknown = Counter(batch.partitions[index] for index in decoded.unknown_fields["batch_index"].to_pylist())
        advances = {
            part: Advance(
                *(next_offsets[part], stored[part], duplicates[part], quarantined[part], unknown[part]),
                last=LastRecord(batch.offsets[last], ledger.fingerprint(batch.timestamps[last], batch.keys[last])),
            )
            for part, last in batch.last_indexes().items()
        }
        for part in advances:
            if locked[part].contract_id != self._contract_id:
                start = locked[part].next_offset, self._contract_id
                contracts.begin(connection, topic_reader.topic, topic_reader.topic_id, part, *start)
        ledger.advance(connection, topic_reader.topic, topic_reader.topic_id, stored_at, advances)
        self._check_identity()
        timer.lap("account")
        connection.commit()
        timer.lap("commit")
        self.timing = Timing._make([*timer.laps.values(), timer.contentions])
        return Committed(
            stored=stored.total(),
            duplicates=duplicates.total(),
            quarantined=Counter(one.rejected.reason for one in bad),
            unknown_fields=Counter(decoded.unknown_fields["name"].to_pylist()),
        )

    def _lock_ledger(self, batch: RecordBatch, *, may_add_partitions: bool) -> dict[int, LockedPosition]:
        """Lock the ledger's rows of the batch's partitions until the transaction ends.

        Partitions that were added to the topic since are opened, which commits. If that is not allowed, raises
        OutOfOrderError. Raises ContractInvalid if a later contract has stored records of them.
        """
        topic_reader, partitions = self._topic_reader, {*batch.partitions}
        locked = ledger.lock(self._connection, topic_reader.topic, partitions)
        if added := partitions - locked.keys():
            if not may_add_partitions:
                raise OutOfOrderError
            first_offsets = {partition: topic_reader.first_offset(partition) for partition in added}
            ledger.ensure_partitions(self._connection, topic_reader.topic, topic_reader.topic_id, first_offsets)
            locked = ledger.lock(self._connection, topic_reader.topic, partitions)
        for one in locked.values():
            ledger.check_topic_id(topic_reader.topic, topic_reader.topic_id, one.topic_id)
            if one.contract_id > self._contract_id:
                raise contracts.mismatch_error(self._settings, contracts.versions(self._connection))
        return locked

    def _gap(self, batch: RecordBatch, positions: Mapping[int, int]) -> LedgerGap | None:
        """Return the gap if the topic holds records between the ledger's positions and the batch; otherwise None."""
        topic_reader = self._topic_reader
        for partition, first in batch.first_offsets().items():
            position = positions[partition]
            if first > position and topic_reader.holds_records(partition, position, first):
                return LedgerGap(
                    f"The batch of {topic_reader.topic} partition {partition} starts at offset {first}, but the"
                    f" ledger is at {position}. The topic has records between.",
                )
        return None

    def _write(self, rows: pa.Table, stored_at: datetime) -> list[SkippedRow]:
        if not len(rows):
            return []
        if self.uses_load_data:
            return orders.load(self._connection, rows, stored_at, self._infile)
        return orders.insert(self._connection, rows, stored_at)

    def _write_except_refused(
        self, decoded: _DecodedBatch, stored_at: datetime
    ) -> tuple[list[SkippedRow], list[Refused]]:
        """Write the rows except those that the server refuses or alters.

        Raises an error that is not about the rows: one that a statement without rows causes as well, or one that every
        row causes and whose number does not show that the row is at fault.
        """
        rows = decoded.rows
        refused: list[Refused] = []
        skipped_rows: list[SkippedRow] = []
        one_statement_per_row = False
        while len(rows):
            self._connection.execute("savepoint")
            try:
                if one_statement_per_row:
                    skipped_rows, found = orders.insert_each(self._connection, rows, stored_at)
                    refused += found
                    rows = orders.exclude(rows, [row.batch_index for row, *_ in found])
                else:
                    skipped_rows = self._write(rows, stored_at)
                break
            except RowsAlteredError as altered:
                refused += altered.refused
                rows = orders.exclude(rows, [row.batch_index for row, *_ in altered.refused])
                self._connection.execute("rollback_to_savepoint")
            except RowsRefusedError:
                one_statement_per_row = True
                self._connection.execute("rollback_to_savepoint")
                orders.probe(self._connection)
        if len(rows) == len(skipped_rows) and refused and all(one.statement_error for one in refused):
            raise UnknownDatabaseError(
                f"Not one of {len(refused):,} orders of {decoded.batch.describe(self._topic_reader.topic)} was"
                f" accepted: {refused[0].detail}",
                hint="The orders are probably valid: look for a broken trigger. `orderflow doctor` lists all.",
            )
        return skipped_rows, refused


def _positions(locked: Mapping[int, LockedPosition]) -> dict[int, int]:
    return {partition: one.next_offset for partition, one in locked.items()}


def _split(batch: RecordBatch) -> Iterator[tuple[RecordBatch, dict[int, int]]]:
    """Split the batch into small ones, each with the offset up to which it accounts for its partitions.

    That is where the next one begins, so the topic need not be checked for records between them.
    """
    next_offsets = batch.next_offsets()
    small_batches: list[tuple[RecordBatch, dict[int, int]]] = []
    for start in reversed(range(0, len(batch.offsets), _SMALL_TRANSACTION_RECORDS)):
        end = start + _SMALL_TRANSACTION_RECORDS
        small_batch = RecordBatch(*(column if column is None else column[start:end] for column in batch))  # type: ignore[arg-type]
        small_batches.append(
            (small_batch, {partition: next_offsets[partition] for partition in small_batch.first_offsets()})
        )
        next_offsets |= small_batch.first_offsets()
    return reversed(small_batches)
