"""A consistent snapshot of all tables, for the audit. Later writes do not appear in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import mysql.connector

from orderflow.contract.definition import Reason
from orderflow.errors import DatabaseRefused, TableDrifted
from orderflow.settings import Settings
from orderflow.store import quarantine, schema, statements
from orderflow.store.connection import LONG_ANSWER_TIMEOUT, Connection, RowsRefused
from orderflow.store.ledger import LastRecord, LedgerEntry
from orderflow.store.quarantine import QuarantineEntry, QuarantineFilter, Status
from orderflow.store.tables import TABLES

_DENIED = {1142, 1143}  # the user may not read this table, or this column of it
# The views that dashboards and analysts sum up, and the columns of each.
VIEWS = {table.key: table.columns for table in TABLES if table.kind == "view"}


class LedgerControlValues(NamedTuple):
    """The values in a row of the ledger that other tables are checked against.

    `lost` is None for partitions of an earlier version. `times_sum` is the sum of stored_at and quarantined_at, in
    microseconds since 1970, of `times_rows` rows.
    """

    lost: int | None
    times_rows: int
    times_sum: int
    contract_id: int = 0  # contract version with which the last records were stored
    last: LastRecord = LastRecord()


class Adoption(NamedTuple):
    """Rows that the table held before OrderFlow: their number, and the sum of their hashes."""

    orders: int
    row_checksum: int


class OrderCounts(NamedTuple):
    """Rows of the orders table: all, and those marked as adopted."""

    rows: int
    adopted: Adoption


class AuditedQuarantineEntry(NamedTuple):
    """A row of the quarantine with its record, as the audit compares it with the topic."""

    key: bytes | None
    value: bytes | None
    topic: str
    corrected: bytes | None
    produced_at: datetime | None
    quarantined_at: datetime
    reason: str
    order_id: str | None
    status: Status
    resolved_by: str | None
    resolved_at: datetime | None
    resolved_because: str | None
    contract_id: int | None = None  # contract version with which it was replayed; None: the default contract
    reason_contract_id: int | None = None  # the version by which a replay set the reason; None: the sink set it

    @property
    def is_status_consistent(self) -> bool:
        """Whether person, time, reason, corrected value and contracts are set only where the status allows them."""
        resolved = self.status != "open"
        return (
            (self.resolved_by is not None) == (self.resolved_at is not None) == resolved
            and (self.resolved_because is not None) == (self.status == "discarded")
            and (self.corrected is None or self.status == "replayed")
            and (self.contract_id is None or self.status == "replayed")
            and (self.reason_contract_id is None or self.reason == Reason.CONFLICT)
        )


class RollupDifference(NamedTuple):
    """A minute of the rollup minus the orders table's sums for it. Rows added by hand have no partition."""

    minute: datetime
    category: str
    partition: int | None
    orders: int
    units: int
    revenue: Decimal


@contextmanager
def open_snapshot(settings: Settings) -> Iterator[Connection]:
    """Open a connection, as MYSQL_READER_USER if that is set. All its statements read one snapshot.

    Ledger, orders, quarantine and rollup agree in it, because one transaction writes them. Under READ COMMITTED each
    statement would see a newer state. Close the snapshot soon: the server keeps old row versions for it.
    Raises DatabaseUnavailable or DatabaseRefused.
    """
    with Connection(settings.for_reading, answer_timeout=LONG_ANSWER_TIMEOUT) as connection:
        connection.execute("set_repeatable_read")
        connection.execute("start_snapshot")
        yield connection


def read_ledger(connection: Connection) -> list[LedgerEntry]:
    """Return all rows, ordered by topic and partition."""
    return [LedgerEntry(*row) for row in connection.execute("select_ledger").rows]


def read_control_values(connection: Connection) -> dict[tuple[str, int], LedgerControlValues]:
    """Map topic and partition to the values in the ledger's row that other tables are checked against."""
    rows = connection.execute("select_control_values").rows
    return {
        (topic, number): LedgerControlValues(lost, times_rows, int(times_sum), contract_id, LastRecord(*last))
        for topic, number, lost, times_rows, times_sum, contract_id, *last in rows
    }


def read_quarantined(
    connection: Connection, topic_id: str, partition: int, start: int, end: int
) -> dict[int, AuditedQuarantineEntry]:
    """Map offset to row, for the records with `start` <= offset < `end`."""
    entries: dict[int, AuditedQuarantineEntry] = {}
    values = {"topic_id": topic_id, "partition": partition, "start": start, "end": end}
    rows = connection.execute("select_quarantined", values).rows
    for offset, key, value, chunks, *other_columns in rows:
        fields = (
            quarantine.join_chunks(connection, topic_id, partition, offset, (key, value)) if chunks else (key, value)
        )
        entries[offset] = AuditedQuarantineEntry(*fields, *other_columns)
    return entries


def read_adoption(connection: Connection) -> Adoption | None:
    """Return what was counted when the table was adopted; None unless there is exactly one count.

    Raises DatabaseRefused if the user may not read it.
    """
    try:
        rows = connection.execute("select_adoption").rows
    except DatabaseRefused as error:
        if _is_denied(error):
            raise
        return None
    return Adoption(rows[0][0], int(rows[0][1])) if len(rows) == 1 else None


def _is_denied(error: DatabaseRefused) -> bool:
    return isinstance(error.__cause__, mysql.connector.Error) and error.__cause__.errno in _DENIED


def count_orders(connection: Connection) -> OrderCounts:
    """Count the rows of the orders table, and the adopted ones among them."""
    rows, adopted, checksum = connection.execute("count_orders").rows[0]
    return OrderCounts(rows, Adoption(adopted, int(checksum)))


def count_quarantine(connection: Connection) -> int:
    """Count the rows of the quarantine."""
    return int(connection.execute("count_quarantine").rows[0][0])


def count_chunks(connection: Connection) -> tuple[int, int]:
    """Return the number of chunks that the quarantine's rows list, and the number that exist."""
    listed, existing = connection.execute("count_chunks").rows[0]
    return int(listed), existing


def read_every_order(connection: Connection) -> Iterator[tuple[str, int | None, int | None, datetime | None]]:
    """Yield order_id, partition, offset and stored_at of every row."""
    last_id: str | None = None
    while rows := connection.execute("select_order_coordinates", {"after_id": last_id}).rows:
        yield from rows
        last_id = rows[-1][0]


def read_every_quarantined(connection: Connection) -> Iterator[QuarantineEntry]:
    """Yield every row of the quarantine, without its record."""
    for page in quarantine.read_pages(connection, QuarantineFilter(status=None)):
        yield from page


def find_rollup_differences(connection: Connection, limit: int) -> tuple[int, list[RollupDifference]]:
    """Count the differences between the rollup and the orders table, and return the first `limit` of them."""
    connection.execute("set_group_memory")
    rows = connection.execute("select_rollup_differences", {"limit": limit}).rows
    differences = [
        RollupDifference(minute, category, partition, int(orders), int(units), revenue)
        for minute, category, partition, orders, units, revenue, _ in rows
    ]
    return (rows[0][-1] if rows else 0), differences


def find_view_differences(connection: Connection, settings: Settings, view: str, limit: int) -> tuple[int, list[str]]:
    """Count the surplus and missing rows of the view, and describe the first `limit` of them.

    The view's own definition is not read, because that takes more privileges than a reader has. Instead, its rows are
    compared with the current result of the definition that OrderFlow creates it with.
    Raises DatabaseRefused if the user may not read it.
    """
    names = statements.table_names(settings)
    try:
        rows = connection.execute(
            "select_view_differences",
            {"limit": limit},
            columns=", ".join(VIEWS[view]),
            view=f"`{names[view]}`",
            definition=statements.sql(f"create_{view}", settings).split(" AS\n", 1)[1],
        ).rows
    except (DatabaseRefused, RowsRefused) as error:
        if isinstance(error, DatabaseRefused) and _is_denied(error):
            raise
        return 1, [f"{names[view]} does not match the view that OrderFlow creates: {error}"]
    differences = [
        f"{names[view]} has {int(times):+} of the row {', '.join(map(str, values))}" for *values, times, _ in rows
    ]
    return (rows[0][-1] if rows else 0), differences


def find_structure_differences(settings: Settings) -> list[str]:
    """Describe the tables, columns, keys and engines that are missing or differ from what OrderFlow creates.

    Raises SchemaTooNew.
    """
    try:
        return [
            f"{step.description} is missing; `orderflow init` creates it"
            for step in schema.missing_steps(settings.for_reading)
        ]
    except TableDrifted as drifted:
        return [drifted.message.rstrip(".")]
