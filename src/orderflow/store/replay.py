"""Replays quarantined records: stores them in the orders table, one transaction each.

The locks are taken in the sink's order: first the ledger's row of the partition, then the record's own. Only an open
record is stored, and storing closes it in the same transaction. So several processes may replay a record at the same
time, and it is stored at most once.
"""

from __future__ import annotations

import time
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from orderflow.contract import loader
from orderflow.contract.definition import EPOCH, Order, Reason
from orderflow.contract.exact_path import decode
from orderflow.contract.fast_path import as_table
from orderflow.contract.order_ranges import range_check_of
from orderflow.errors import Contention, InputInvalid, RecordRejected
from orderflow.store import contention, contracts, ledger, orders, quarantine, rollup
from orderflow.store.connection import Connection, RowsRefused
from orderflow.store.existing_orders import find_conflict
from orderflow.store.ledger import PositionUpdate
from orderflow.store.order_rows import as_rows
from orderflow.store.orders_table import CheckedTable
from orderflow.store.quarantine import QuarantineEntry
from orderflow.store.record_batch import RecordBatch
from orderflow.store.skipped_rows import RowsAltered


class ReplayOutcome(StrEnum):
    """What became of a record."""

    STORED = "stored"
    DUPLICATE = "duplicate"  # the same order is stored already, which counts as success
    CONFLICT = "conflict"  # the order_id is stored with other content: the record stays open
    REJECTED = "rejected"  # by the contract, or by the database: the record stays open
    REPLAYED_BEFORE = "replayed before"
    DISCARDED_BEFORE = "discarded before"

    @property
    def is_in_table(self) -> bool:
        """Whether the record's order is in the table."""
        return self in (ReplayOutcome.STORED, ReplayOutcome.DUPLICATE, ReplayOutcome.REPLAYED_BEFORE)


class ReplayResult(NamedTuple):
    """`detail` is the reason if the record was not stored; `order_id` is the record's, if it could be read."""

    outcome: ReplayOutcome
    order_id: str | None
    detail: str = ""


class Replayer:
    """Replays records over one connection."""

    def __init__(self, connection: Connection) -> None:
        """Check the contract and the orders table. Raises what `contracts.current_id` and CheckedTable raise."""
        self._connection = connection
        self._settings = connection.settings
        self._contract_id = contracts.current_id(connection)
        self._table = CheckedTable(self._settings, connection)

    def replay(
        self, entry: QuarantineEntry, *, by: str, corrected: bytes | None = None, dry_run: bool = False
    ) -> ReplayResult:
        """Check the record against the current contract and store it if it is valid now, at its original coordinates.

        `corrected` replaces the record's value, and is stored next to it. `dry_run` does the same work and rolls back.

        Raises:
        - InputInvalid: the ledger does not have the record's partition.
        - Contention: after 20 attempts or 90 seconds.
        - ContractInvalid: records were stored with a later contract.
        - TableDrifted, RestartRequired: the orders table was altered, so that it cannot store the order.
        - TopicRecreated, DatabaseUnavailable, DatabaseRefused.

        After an error nothing has changed, unless a COMMIT's reply was lost.
        """
        if entry.status != "open":
            return _resolved_before(entry, entry.status)
        connection = self._connection
        value = quarantine.read_content(connection, entry).value if corrected is None else corrected
        try:
            order = decode(value, loader.contract_of(self._settings), range_check_of(self._settings))
        except RecordRejected as rejected:
            return ReplayResult(ReplayOutcome.REJECTED, entry.order_id, f"{rejected.reason}: {rejected.message}")
        retries = contention.ContentionRetries()
        while True:
            try:
                result = self._transaction(entry, order, by, corrected)
                connection.rollback() if dry_run else connection.commit()
            except (RowsRefused, RowsAltered) as refusal:
                connection.rollback()
                if isinstance(refusal, RowsRefused) and refusal.statement_error:
                    raise refusal.statement_error from refusal
                return ReplayResult(ReplayOutcome.REJECTED, order.order_id, f"{Reason.REFUSED_BY_DATABASE}: {refusal}")
            except Contention as error:
                connection.rollback()
                time.sleep(retries.pause_after(error, f"Record {entry.quarantine_id}"))
            else:
                return result

    def _transaction(self, entry: QuarantineEntry, order: Order, by: str, corrected: bytes | None) -> ReplayResult:
        """Do the transaction's work, without its COMMIT or ROLLBACK."""
        connection = self._connection
        locked = ledger.lock(connection, entry.topic, [entry.partition])
        if entry.partition not in locked:
            raise InputInvalid(
                f"Record {entry.quarantine_id} is of {entry.topic} partition {entry.partition}, which is not in the"
                " ledger.",
                hint="The ledger was changed by hand; `orderflow audit` lists what is missing.",
            )
        next_offset, topic_id, now, locked_contract_id = locked[entry.partition]
        contract = loader.contract_of(self._settings)
        ledger.check_topic_id(entry.topic, entry.topic_id, topic_id)
        contracts.check_is_latest(connection, self._contract_id, locked_contract_id)
        [(status,)] = connection.execute("lock_quarantine", {"quarantine_id": entry.quarantine_id}).rows
        if status != "open":
            return _resolved_before(entry, status)
        timestamp = -1 if entry.produced_at is None else (entry.produced_at - EPOCH) // timedelta(milliseconds=1)
        record = RecordBatch([entry.partition], [entry.offset], [timestamp], [None], [None])
        rows = as_rows(as_table([order], [0], contract), record, contract)
        skipped_rows = orders.insert(connection, rows, now)
        self._table.check(connection)
        if skipped_rows and (rejected := find_conflict(contract, *skipped_rows[0])):
            if corrected is None and entry.reason != Reason.CONFLICT:
                quarantine.set_conflict(connection, entry.quarantine_id, rejected, order.order_id, self._contract_id)
            return ReplayResult(ReplayOutcome.CONFLICT, order.order_id, rejected.message)
        if not skipped_rows:
            rollup.add(connection, rows)
        counted = PositionUpdate(next_offset, stored=int(not skipped_rows), duplicates=len(skipped_rows))
        ledger.advance(connection, entry.topic, topic_id, now, {entry.partition: counted})
        resolved = {"by": by, "at": now, "corrected": corrected, "quarantine_id": entry.quarantine_id}
        # NULL for the default contract, as in rows of earlier versions.
        resolved["contract_id"] = self._contract_id or None
        connection.execute("resolve_replayed", resolved)
        return ReplayResult(ReplayOutcome.DUPLICATE if skipped_rows else ReplayOutcome.STORED, order.order_id)


def _resolved_before(entry: QuarantineEntry, status: str) -> ReplayResult:
    outcome = ReplayOutcome.REPLAYED_BEFORE if status == "replayed" else ReplayOutcome.DISCARDED_BEFORE
    return ReplayResult(outcome, entry.order_id)
