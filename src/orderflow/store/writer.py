"""Commits batches of raw records, each in one transaction if the server accepts it: see `transaction` for its steps.

After a deadlock or a lock timeout, the transaction is repeated.

If the server refuses rows of a batch, or a transaction of its size, the batch is split into small transactions. Each
advances the ledger, so that the pipeline makes progress and no connection holds its locks for long. Rejected: a binary
search for the refused rows within one transaction. With 10,000 refused rows and a latency of 1 ms it took minutes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from orderflow.errors import Contention, TransactionTooLarge
from orderflow.settings import Settings
from orderflow.store import contention, contracts
from orderflow.store.commit_result import CommitResult, StepTimer, Timing
from orderflow.store.commit_ticket import CommitTicket
from orderflow.store.connection import LOCK_WAIT, LocalInfileOff, RowsRefused
from orderflow.store.decoded_batch import BatchDecoder
from orderflow.store.orders_table import CheckedTable
from orderflow.store.quarantined_share import WINDOW_RECORDS, QuarantinedShare
from orderflow.store.record_batch import RecordBatch
from orderflow.store.skipped_rows import RowsAltered
from orderflow.store.topic_reader import TopicReader
from orderflow.store.transaction import BatchTransaction, OutOfOrder, TransactionContext
from orderflow.store.writer_session import WriterSession

_SMALL_TRANSACTION_RECORDS = 1_000  # limit of a transaction after a refusal
# Seconds without a statement after which the server ends a writer's session. A lost machine's locks stay until then.
_IDLE_TIMEOUT = 600


class Writer:
    """Commits batches over one connection, which it keeps open. Not thread-safe."""

    def __init__(
        self,
        settings: Settings,
        topic_reader: TopicReader,
        folder: Path | None = None,
        *,
        sort_by_last_digit: bool = False,
        lock_wait: int = LOCK_WAIT,
        max_attempts: int = contention.ATTEMPTS,
        window_records: int = WINDOW_RECORDS,
        idle_timeout: int = _IDLE_TIMEOUT,
    ) -> None:
        """Connect. LOAD DATA's files are in a new folder under `folder` (default: the system's temporary folder).

        `sort_by_last_digit` is for writers that store different partitions at the same time: see `order_rows.as_rows`.
        A statement waits `lock_wait` seconds for a row lock. A batch is given up after `max_attempts` transactions that
        met contention. The last `window_records` records decide whether too many are quarantined. After `idle_timeout`
        seconds without a statement, the server ends the session; the writer connects again before that.

        Raises what Connection and CheckedTable raise.
        """
        self._topic_reader = topic_reader
        self._max_attempts = max_attempts
        self._quarantined_share = QuarantinedShare(settings, topic_reader.topic, window_records)
        self.timing: Timing | None = None  # timing of the last commit; None if it found nothing new
        self.session = WriterSession(settings, folder, lock_wait=lock_wait, idle_timeout=idle_timeout)
        self._decoder = BatchDecoder(settings, sort_by_last_digit=sort_by_last_digit)
        try:
            self._contract_id = contracts.current_id(self.session.connection)
            self._table = CheckedTable(settings, self.session.connection)
        except BaseException:
            self.session.close()
            raise

    def close(self) -> None:
        """End the session and remove the files."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def commit(self, batch: RecordBatch, ticket: CommitTicket | None = None) -> CommitResult:
        """Account for every record of the batch, exactly once.

        With a `ticket`, the orders may be written while another writer commits the previous batch.

        Raises:
        - LedgerGap: the topic holds records before the batch.
        - Contention: after `max_attempts` attempts or 90 seconds.
        - TableDrifted, RestartRequired: the orders table was altered, so that it cannot store the orders any more.
        - TopicRecreated, DatabaseUnavailable, UnknownDatabaseError, DatabaseRefused.
        - TooManyQuarantined: after the whole batch is stored.

        After LedgerGap, the batch may be committed again; after another error, the writer must be closed. The ledger
        shows what is stored: usually nothing; the first records of each partition, if the batch was split; all of it,
        if a COMMIT's reply was lost.
        """
        self.timing = None
        if not batch.offsets:
            return CommitResult()
        self.session.reconnect_if_idle()
        context = TransactionContext(
            session=self.session,
            topic_reader=self._topic_reader,
            decoder=self._decoder,
            contract_id=self._contract_id,
            # Request the topic's id now and compare it before COMMIT. An unchanged id proves that the topic was not
            # recreated.
            finish_topic_id_check=self._topic_reader.request_topic_id_check(),
            check_table=self._table.check,
            ticket=ticket or CommitTicket(),
            timer=StepTimer(),
        )
        committed = self._commit_or_split(context, batch)
        self.session.mark_used()
        self.timing = context.timer.timing
        quarantined = committed.quarantined
        self._quarantined_share.add(committed.records, quarantined.total(), dict(quarantined.most_common(3)))
        return committed

    def _commit_or_split(self, context: TransactionContext, batch: RecordBatch) -> CommitResult:
        """Commit the batch in one transaction; after a refusal, in several small ones."""
        decoded = self._decoder.decode(batch)
        context.timer.lap("decode")
        is_predecessor_open = context.ticket.wait_until_may_write()
        context.timer.lap("lock")
        transaction = BatchTransaction(context, decoded, batch.next_offsets())
        try:
            return self._commit_with_retries(context, transaction, batch, speculative=is_predecessor_open)
        except (RowsRefused, RowsAltered, TransactionTooLarge):
            # Rare: retry the whole batch, now searching for the rows at fault.
            self._start_again(context)
            return self._commit_in_small_transactions(context, batch)

    def _commit_in_small_transactions(self, context: TransactionContext, batch: RecordBatch) -> CommitResult:
        """Split the batch into small transactions, each of which finds the rows that the server refuses."""
        committed = CommitResult()
        for small_batch, next_offsets in _split(batch):
            transaction = BatchTransaction(context, self._decoder.decode(small_batch), next_offsets)
            context.timer.lap("decode")
            committed = committed.plus(
                self._commit_with_retries(context, transaction, small_batch, isolate_refused=True)
            )
        return committed

    def _commit_with_retries(
        self,
        context: TransactionContext,
        transaction: BatchTransaction,
        batch: RecordBatch,
        *,
        speculative: bool = False,
        isolate_refused: bool = False,
    ) -> CommitResult:
        """Execute the batch's transaction, and retry it after contention."""
        retries = contention.ContentionRetries(self._max_attempts)
        while True:
            pause = 0.0
            try:
                if speculative:
                    return transaction.commit_speculatively()
                return transaction.commit_in_order(isolate_refused=isolate_refused)
            except OutOfOrder:
                pass  # retried in order
            except LocalInfileOff:
                self.session.uses_load_data = False
            except Contention as error:
                context.timer.contentions += 1
                pause = retries.pause_after(error, batch.describe(self._topic_reader.topic))
            self._start_again(context, pause)
            speculative = False

    def _start_again(self, context: TransactionContext, pause: float = 0.0) -> None:
        self.session.connection.rollback()
        time.sleep(pause)
        context.ticket.wait_for_predecessor_end()


def _split(batch: RecordBatch) -> Iterator[tuple[RecordBatch, dict[int, int]]]:
    """Split the batch into small ones, each with its next offset by partition.

    These are the first offsets of the following one, so the topic need not be checked for records between them.
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
