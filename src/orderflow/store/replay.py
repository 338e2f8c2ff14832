"""Records of the quarantine on their way into the orders table, one transaction each.

The locks are taken in the sink's order: the ledger's row of the partition, then the record's own. Only an open
record is stored, and storing closes it in the same transaction: so it happens once, however often, wherever and by
however many at once a replay is run.
"""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from orderflow.errors import Contention, InputInvalid, RecordRejected
from orderflow.order import Order, Reason, decode
from orderflow.reading import as_table
from orderflow.settings import Settings
from orderflow.store import ledger, orders, quarantine, rollup
from orderflow.store.connection import Connection, RowsRefusedError
from orderflow.store.ledger import Advance
from orderflow.store.quarantine import Entry
from orderflow.store.run import Run

_ATTEMPTS = 20  # to get through deadlocks and lock timeouts
_LONGEST_WAIT = 2.0  # seconds between two of them
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - as the server gives times: naive, UTC


class Result(StrEnum):
    """What a replay made of a record."""

    STORED = "stored"
    DUPLICATE = "duplicate"  # the same order is stored already; that is as good
    CONFLICT = "conflict"  # the order_id is stored with other content: the record stays open
    REJECTED = "rejected"  # by the contract, or by the database: the record stays open
    REPLAYED_BEFORE = "replayed before"
    DISCARDED_BEFORE = "discarded before"

    @property
    def good(self) -> bool:
        """Whether the record's order stands in the table."""
        return self in (Result.STORED, Result.DUPLICATE, Result.REPLAYED_BEFORE)


class Outcome(NamedTuple):
    """`detail` says why, where the record was not stored; `order_id` is that of the record, if it could be read."""

    result: Result
    order_id: str | None
    detail: str = ""


def replay(
    connection: Connection,
    settings: Settings,
    entry: Entry,
    *,
    by: str,
    mended: bytes | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Read the record again by today's contract and store what is good now, at the coordinates it came with.

    `mended` is read in place of the record's value, and kept beside it. `dry_run` does all of it and rolls back.
    Raises InputInvalid if the ledger does not know the record's partition, TopicRecreated, DatabaseUnavailable,
    DatabaseRefused, and Contention after many attempts; nothing has changed then, unless a COMMIT's reply was lost.
    """
    if entry.status != "open":
        return _before(entry, entry.status)
    value = quarantine.content(connection, entry).value if mended is None else mended
    try:
        order = decode(value, enforce_ranges=settings.order_ranges == "enforce")
    except RecordRejected as rejected:
        return Outcome(Result.REJECTED, entry.order_id, f"{rejected.reason}: {rejected.message}")
    for attempt in range(_ATTEMPTS):
        try:
            outcome = _transaction(connection, entry, order, by, mended)
            connection.rollback() if dry_run else connection.commit()
        except RowsRefusedError as refusal:
            connection.rollback()
            return Outcome(Result.REJECTED, order.order_id, f"{Reason.REFUSED_BY_DATABASE}: {refusal}")
        except Contention:
            connection.rollback()
            time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.01 * 2**attempt)))  # noqa: S311
        else:
            return outcome
    raise Contention(f"Record {entry.quarantine_id}: {_ATTEMPTS} transactions in a row met deadlocks or lock timeouts.")


def _transaction(connection: Connection, entry: Entry, order: Order, by: str, mended: bytes | None) -> Outcome:
    """All but its end."""
    found = ledger.lock(connection, entry.topic, [entry.partition])
    if entry.partition not in found:
        raise InputInvalid(
            f"Record {entry.quarantine_id} is of {entry.topic} partition {entry.partition}, which the ledger does not"
            " know.",
            hint="The ledger was changed by hand; `orderflow audit` tells what is missing.",
        )
    next_offset, topic_id, now = found[entry.partition]
    ledger.check_topic_id(entry.topic, entry.topic_id, topic_id)
    [(status,)] = connection.run("lock_quarantine", (entry.quarantine_id,)).rows
    if status != "open":
        return _before(entry, status)
    timestamp = -1 if entry.produced_at is None else (entry.produced_at - _EPOCH) // timedelta(milliseconds=1)
    record = Run([entry.partition], [entry.offset], [timestamp], [None], [None])
    rows = orders.as_rows(as_table([order], [0]), record)
    left_out = orders.insert(connection, rows, now)
    if left_out and (rejected := orders.conflict(*left_out[0])):
        if mended is None:
            # So that whoever looks for conflicts finds it.
            values = (rejected.reason, rejected.message, order.order_id, entry.quarantine_id)
            connection.run("set_conflict", values)
        return Outcome(Result.CONFLICT, order.order_id, rejected.message)
    if not left_out:
        rollup.add(connection, rows)
    counted = Advance(next_offset, stored=int(not left_out), duplicates=len(left_out))
    ledger.advance(connection, entry.topic, topic_id, now, {entry.partition: counted})
    connection.run("resolve_replayed", (by, now, mended, entry.quarantine_id))
    return Outcome(Result.DUPLICATE if left_out else Result.STORED, order.order_id)


def _before(entry: Entry, status: str) -> Outcome:
    result = Result.REPLAYED_BEFORE if status == "replayed" else Result.DISCARDED_BEFORE
    return Outcome(result, entry.order_id)
