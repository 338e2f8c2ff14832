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
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from orderflow.contract.definition import Reason
from orderflow.errors import LedgerGap, RecordRejected
from orderflow.store import contracts, ledger, quarantine, rollup
from orderflow.store.commit_result import CommitResult, StepTimer
from orderflow.store.commit_ticket import CommitTicket
from orderflow.store.connection import Connection
from orderflow.store.decoded_batch import BatchDecoder, DecodedBatch
from orderflow.store.existing_orders import find_conflict
from orderflow.store.ledger import LastRecord, LockedPosition, PositionUpdate
from orderflow.store.order_rows import exclude
from orderflow.store.quarantine import RecordToQuarantine
from orderflow.store.record_batch import NewRow, RecordBatch
from orderflow.store.skipped_rows import RefusedRow, SkippedRow
from orderflow.store.topic_reader import TopicReader
from orderflow.store.writer_session import WriterSession


class OutOfOrder(Exception):
    """A batch that was written speculatively does not begin at the ledger's positions."""


class TransactionContext(NamedTuple):
    """What all transactions of a commit share.

    `finish_topic_id_check` is from `TopicReader.request_topic_id_check`. Before COMMIT, it raises an error if the topic
    was recreated, and `check_table` does so if the orders table was altered.
    """

    session: WriterSession
    topic_reader: TopicReader
    decoder: BatchDecoder
    contract_id: int
    finish_topic_id_check: Callable[[], None]
    check_table: Callable[[Connection], None]
    ticket: CommitTicket
    timer: StepTimer


class _Counts(NamedTuple):
    """The batch's records by partition, and its unknown fields."""

    stored: Counter[int]
    duplicates: Counter[int]
    quarantined: Counter[int]
    unknown_fields: Counter[int]


class BatchTransaction:
    """The transaction of a batch. If it raises an error, the caller rolls back, and may call it again.

    `next_offsets` maps each partition to its next offset after the transaction.
    """

    def __init__(self, context: TransactionContext, decoded: DecodedBatch, next_offsets: Mapping[int, int]) -> None:
        self._context = context
        self._connection = context.session.connection
        self._topic_reader = context.topic_reader
        self._timer = context.timer
        self._decoded = decoded
        self._next_offsets = next_offsets

    def commit_speculatively(self) -> CommitResult:
        """Do step 4 while the predecessor commits; then steps 1 to 3 must leave the batch unchanged.

        Raises OutOfOrder if they do not.
        """
        # 4. Write the orders.
        [(stored_at,)] = self._connection.execute("select_now").rows
        skipped_rows = self._context.session.write(self._decoded.rows, stored_at)
        self._timer.lap("write")
        # 1. Lock the ledger's rows.
        self._context.ticket.wait_for_predecessor_lock()
        locked = self._lock_ledger(may_add_partitions=False)
        positions = _positions(locked)
        self._context.ticket.mark_ledger_locked()
        # 2 and 3. No record is stored already, and none is missing.
        batch = self._decoded.batch
        in_order = batch.starting_at(positions) is batch and not self._find_gap(batch, positions)
        self._timer.lap("lock")
        if not in_order:
            raise OutOfOrder
        return self._account_and_commit(self._decoded, locked, stored_at, skipped_rows)

    def commit_in_order(self, *, isolate_refused: bool) -> CommitResult:
        """Do steps 1 to 6. With `isolate_refused`, find the rows that the server refuses."""
        session, decoded = self._context.session, self._decoded
        # 1. Lock the ledger's rows.
        locked = self._lock_ledger(may_add_partitions=True)
        positions, stored_at = _positions(locked), next(iter(locked.values())).now
        self._context.ticket.mark_ledger_locked()
        # 2. Drop the records that are stored already.
        batch = decoded.batch.starting_at(positions)
        # 3. Check the gap before the first record.
        gap = self._find_gap(batch, positions)
        self._timer.lap("lock")
        if gap or not batch.offsets:
            self._connection.rollback()
            if gap:
                raise gap
            return CommitResult()
        if batch is not decoded.batch:
            decoded = self._context.decoder.decode(batch)
            self._timer.lap("decode")
        # 4. Write the orders.
        refused: Sequence[RefusedRow] = ()
        if isolate_refused:
            description = batch.describe(self._topic_reader.topic)
            skipped_rows, refused = session.write_except_refused(decoded.rows, stored_at, description)
        else:
            skipped_rows = session.write(decoded.rows, stored_at)
        self._timer.lap("write")
        return self._account_and_commit(decoded, locked, stored_at, skipped_rows, refused)

    def _account_and_commit(
        self,
        decoded: DecodedBatch,
        locked: Mapping[int, LockedPosition],
        stored_at: datetime,
        skipped_rows: Sequence[SkippedRow],
        refused: Sequence[RefusedRow] = (),
    ) -> CommitResult:
        """Do steps 5 and 6, which are common to both commit methods."""
        self._context.check_table(self._connection)  # after the write, nobody can alter the table until COMMIT
        # 5. Count duplicates; put conflicts, rejected records and refused rows into the quarantine.
        conflicts = self._find_conflicts(skipped_rows)
        to_quarantine = _records_to_quarantine(decoded, conflicts, refused)
        quarantine.insert(self._connection, self._topic_reader, decoded.batch, to_quarantine, stored_at)
        # 6. Add to the rollup, advance the ledger, COMMIT.
        not_written = [*(row.batch_index for row, _ in skipped_rows), *(row.batch_index for row, *_ in refused)]
        written = exclude(decoded.rows, not_written)
        rollup.add(self._connection, written)
        batch, unknown_fields = decoded.batch, decoded.unknown_fields
        counts = _Counts(
            stored=Counter(written["kafka_partition"].to_pylist()),
            duplicates=_count_by_partition(skipped_rows) - _count_by_partition(conflicts),
            quarantined=Counter(batch.partitions[record.batch_index] for record in to_quarantine),
            unknown_fields=Counter(batch.partitions[index] for index in unknown_fields["batch_index"].to_pylist()),
        )
        self._begin_contract(batch, locked)
        self._advance_ledger(batch, counts, stored_at)
        self._commit()
        return CommitResult(
            stored=counts.stored.total(),
            duplicates=counts.duplicates.total(),
            quarantined=Counter(record.rejection.reason for record in to_quarantine),
            unknown_fields=Counter(unknown_fields["name"].to_pylist()),
        )

    def _find_conflicts(self, skipped_rows: Iterable[SkippedRow]) -> list[tuple[NewRow, RecordRejected]]:
        """Return the skipped rows that differ from the existing ones. The other skipped rows are duplicates."""
        contract = self._context.decoder.contract
        return [
            (row, conflict)
            for row, existing_row in skipped_rows
            if (conflict := find_conflict(contract, row, existing_row))
        ]

    def _begin_contract(self, batch: RecordBatch, locked: Mapping[int, LockedPosition]) -> None:
        """Record at which offset the contract begins in each partition that had an earlier one."""
        topic, topic_id, contract_id = self._topic_reader.topic, self._topic_reader.topic_id, self._context.contract_id
        for partition in batch.last_indexes():
            if locked[partition].contract_id != contract_id:
                start = locked[partition].next_offset
                contracts.record_start(self._connection, topic, topic_id, partition, start, contract_id)

    def _advance_ledger(self, batch: RecordBatch, counts: _Counts, stored_at: datetime) -> None:
        updates = {
            partition: PositionUpdate(
                self._next_offsets[partition],
                stored=counts.stored[partition],
                duplicates=counts.duplicates[partition],
                quarantined=counts.quarantined[partition],
                unknown_fields=counts.unknown_fields[partition],
                last=LastRecord(batch.offsets[index], ledger.hash_record(batch.timestamps[index], batch.keys[index])),
            )
            for partition, index in batch.last_indexes().items()
        }
        ledger.advance(self._connection, self._topic_reader.topic, self._topic_reader.topic_id, stored_at, updates)

    def _commit(self) -> None:
        self._context.finish_topic_id_check()
        self._timer.lap("account")
        self._connection.commit()
        self._timer.lap("commit")
        self._timer.finish()

    def _lock_ledger(self, *, may_add_partitions: bool) -> dict[int, LockedPosition]:
        """Lock the ledger's rows of the batch's partitions until the transaction ends.

        Adds missing partitions to the ledger, which commits. Raises OutOfOrder if that is not allowed.
        Raises ContractInvalid if a later contract has stored records of the partitions.
        """
        topic, topic_id = self._topic_reader.topic, self._topic_reader.topic_id
        partitions = {*self._decoded.batch.partitions}
        locked = ledger.lock(self._connection, topic, partitions)
        if added := partitions - locked.keys():
            if not may_add_partitions:
                raise OutOfOrder
            first_offsets = {partition: self._topic_reader.first_offset(partition) for partition in added}
            ledger.ensure_partitions(self._connection, topic, topic_id, first_offsets)
            locked = ledger.lock(self._connection, topic, partitions)
        for position in locked.values():
            ledger.check_topic_id(topic, topic_id, position.topic_id)
            contracts.check_is_latest(self._connection, self._context.contract_id, position.contract_id)
        return locked

    def _find_gap(self, batch: RecordBatch, positions: Mapping[int, int]) -> LedgerGap | None:
        """Return the gap if the topic holds records between the ledger's positions and the batch; otherwise None."""
        for partition, first in batch.first_offsets().items():
            position = positions[partition]
            if first > position and self._topic_reader.holds_records(partition, position, first):
                return LedgerGap(
                    f"The batch of {self._topic_reader.topic} partition {partition} starts at offset {first}, but the"
                    f" ledger's next offset is {position}. The topic has records between them.",
                )
        return None


def _count_by_partition(rows: Iterable[tuple[NewRow, object]]) -> Counter[int]:
    return Counter(row.partition for row, _ in rows)


def _positions(locked: Mapping[int, LockedPosition]) -> dict[int, int]:
    return {partition: position.next_offset for partition, position in locked.items()}


def _records_to_quarantine(
    decoded: DecodedBatch, conflicts: Iterable[tuple[NewRow, RecordRejected]], refused: Iterable[RefusedRow]
) -> list[RecordToQuarantine]:
    """Return the records for the quarantine: those that the contract rejects, the conflicts, and the refused rows."""
    to_quarantine = [RecordToQuarantine(batch_index, rejected) for batch_index, rejected in decoded.rejected]
    to_quarantine += [RecordToQuarantine(row.batch_index, conflict, row.order.order_id) for row, conflict in conflicts]
    to_quarantine += [
        RecordToQuarantine(row.batch_index, RecordRejected(Reason.REFUSED_BY_DATABASE, detail), row.order.order_id)
        for row, detail, _ in refused
    ]
    return to_quarantine
