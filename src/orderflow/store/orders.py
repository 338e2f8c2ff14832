"""Writes rows to the orders table, and finds out which of them exist already.

The table's content decides which rows were written, and whether they are as sent. If the server wrote every row
without a warning, no query is needed. (Both servers count warnings regardless of max_error_count; they count notes too,
because the session sets sql_notes.)

Rejected: a staging table and INSERT … SELECT (45–70 k rows/s, where LOAD DATA into the table itself reaches 90 k).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from orderflow.contract import loader, native
from orderflow.contract.definition import LAST_MILLISECOND, STANDARD_FIELDS, Contract, Reason
from orderflow.contract.fast_path import as_orders
from orderflow.errors import OrderFlowError, RecordRejected, translate_shortages
from orderflow.plurals import counted
from orderflow.store.connection import (
    Connection,
    RowsRefused,
    StatementResult,
    estimated_bytes,
    split_by_size,
    translate_row_errors,
)
from orderflow.store.error_numbers import DUPLICATE_ENTRY
from orderflow.store.record_batch import NewRow, RecordBatch
from orderflow.store.statements import placeholders_for

_INSERT_ROWS = 1000  # per statement: 47–58 k rows/s; more rows bring no gain
_SELECT_IDS = 1000  # per statement; more bring no gain
_STATEMENTS = 200  # per round trip, where each row has its own statement
_RECORD = ("kafka_partition", "kafka_offset", "produced_at")
_ORDER_ID = STANDARD_FIELDS.index("order_id")  # its position in a row
_LONGEST_SHOWN = 3_000  # characters of a value in a reason
_REASONS = 3  # texts of warnings, at most
_ROW_IN_TEXT = re.compile(r" at row \d+")
_ORDER_ID_IN_TEXT = re.compile(r"'([!-~]+)' for key")
_INSERT_BYTES = 4 * 1024 * 1024  # of one statement; larger ones bring no gain


class ExistingRow(NamedTuple):
    """A row of the table; `order` has the form of Order.row."""

    order: tuple[object, ...]
    partition: int | None
    offset: int | None
    produced_at: datetime | None
    stored_at: datetime | None


class SkippedRow(NamedTuple):
    """A row that was not written, and the existing row with the same order_id."""

    row: NewRow
    existing_row: ExistingRow


class RefusedRow(NamedTuple):
    """A row that the server refuses or alters, and the reason; `statement_error` as in RowsRefused."""

    row: NewRow
    detail: str
    statement_error: OrderFlowError | None = None


class RowsAltered(Exception):
    """The server wrote rows with other values than were sent, or skipped them: they must be rolled back."""

    def __init__(self, refused: Sequence[RefusedRow]) -> None:
        super().__init__(refused[0].detail)
        self.refused = refused


def as_rows(
    accepted: pa.Table, batch: RecordBatch, contract: Contract, *, sort_by_last_digit: bool = False
) -> pa.Table:
    """Return a batch's accepted orders with LOAD DATA's other columns and their batch indexes, sorted by order_id.

    Sorted rows fill each page of the table once, and two transactions cannot lock the same keys in opposite orders. Of
    two orders with one id, the batch's first stays first.

    `sort_by_last_digit` sorts by the last digit of the id before the id itself, for several writers that each store
    some of the topic's partitions. Their inserts then spread over the whole key range, and later rows fill half-full
    pages.
    """
    sort_keys = [("order_id", "ascending")]
    if sort_by_last_digit:
        accepted = accepted.append_column("last_digit", pc.utf8_slice_codeunits(accepted["order_id"], -1))
        sort_keys.insert(0, ("last_digit", "ascending"))
    accepted = accepted.sort_by(sort_keys)
    batch_indexes = accepted["batch_index"]
    partitions, offsets, milliseconds = (
        pa.array(column, pa.int64()).take(batch_indexes)
        for column in (batch.partitions, batch.offsets, batch.timestamps)
    )
    is_plausible = pc.and_(pc.greater_equal(milliseconds, 0), pc.less_equal(milliseconds, LAST_MILLISECOND))
    produced = pc.if_else(is_plausible, milliseconds, None).cast(pa.timestamp("ms")).cast(pa.string())
    columns = [partitions, offsets, produced, batch_indexes]
    names = contract.column_names
    return pa.table([*accepted.select(names).columns, *columns], names=[*names, *_RECORD, "batch_index"])


def load(connection: Connection, rows: pa.Table, stored_at: datetime, infile: Path) -> list[SkippedRow]:
    """Write by LOAD DATA LOCAL through the file `infile`. Returns the rows whose order_id exists already.

    Raises RowsRefused and RowsAltered, after which the rows must be rolled back, and OutOfResources if the
    file's folder is full.
    """
    contract = loader.contract_of(connection.settings)
    try:
        with translate_shortages(f"{infile.parent} cannot be written"):
            infile.write_bytes(
                native.write(
                    rows.drop_columns("batch_index"),
                    times=(*contract.time_columns, "produced_at"),
                    free_texts=contract.free_text_columns,
                )
            )
        with translate_row_errors():
            result = connection.execute("load_orders", {"file": str(infile), "stored_at": stored_at})
    finally:
        infile.unlink(missing_ok=True)
    return _skipped_rows(connection, rows, stored_at, result, sent_rows=rows)


def insert(connection: Connection, rows: pa.Table, stored_at: datetime) -> list[SkippedRow]:
    """Write by multi-row INSERT, for servers with local_infile off. Otherwise the same as `load`."""
    skipped_rows: list[SkippedRow] = []
    sent = 0
    for start in range(0, len(rows), _INSERT_ROWS):
        values = _values(rows[start : start + _INSERT_ROWS], stored_at)
        for portion in split_by_size(values, estimated_bytes, min(_INSERT_BYTES, connection.max_values_bytes)):
            with translate_row_errors():
                result = connection.execute_rows("insert_orders", portion)
            portion_rows = rows[sent : sent + len(portion)]
            skipped_rows += _skipped_rows(connection, portion_rows, stored_at, result, sent_rows=rows)
            sent += len(portion)
    return skipped_rows


def insert_each(
    connection: Connection, rows: pa.Table, stored_at: datetime
) -> tuple[list[SkippedRow], list[RefusedRow]]:
    """Write each row with its own statement, and continue after a row that the server refuses.

    Many statements share one round trip, which ends at a refused row: only refused rows cost a round trip each. Strict
    mode makes the server refuse values that INSERT IGNORE and LOAD DATA LOCAL clamp. The server rounds some values
    without an error; reading the rows again finds these. Raises RowsAltered.
    """
    inserts = _SeparateInserts(connection, rows, stored_at)
    while inserts.waiting:
        inserts.send()
    if altered := inserts.find_altered():
        raise RowsAltered([*altered, *inserts.refused])
    return inserts.skipped_rows, inserts.refused


class _SeparateInserts:
    """The state of `insert_each`. `waiting` has the rows that are neither written, skipped nor refused yet."""

    def __init__(self, connection: Connection, rows: pa.Table, stored_at: datetime) -> None:
        self._connection = connection
        self.waiting: list[tuple[NewRow, tuple[object, ...]]] = []
        self.skipped_rows: list[SkippedRow] = []
        self.refused: list[RefusedRow] = []
        self._written: dict[str, NewRow] = {}  # by order_id
        self._retried: set[int] = set()  # batch indexes
        self._statements = _STATEMENTS  # in the next round trip
        existing_rows = find_by_order_id(connection, rows["order_id"].to_pylist())
        for row, values in zip(iterate_rows(connection, rows), _values(rows, stored_at), strict=True):
            if existing_row := existing_rows.get(row.order.order_id):
                self.skipped_rows.append(SkippedRow(row, existing_row))
            else:
                self.waiting.append((row, values))

    def send(self) -> None:
        """Send the next statements in one round trip, which ends at the first refused row."""
        portion = self.waiting[: self._statements]
        count, refusal = self._connection.execute_each("insert_order", [values for _, values in portion])
        self._written |= {row.order.order_id: row for row, _ in portion[:count]}
        self.waiting = self.waiting[count:]
        if refusal is None:
            self._statements = min(_STATEMENTS, 2 * self._statements)
        else:
            self._statements = min(_STATEMENTS, 2 * count + 2)  # those after the refused row are sent again
            self._process_refusal(*self.waiting.pop(0), refusal)

    def _process_refusal(self, row: NewRow, values: tuple[object, ...], refusal: RowsRefused) -> None:
        order_id = row.order.order_id
        is_taken = order_id in self._written or refusal.number == DUPLICATE_ENTRY
        if is_taken and (existing_row := find_by_order_id(self._connection, [order_id]).get(order_id)):
            self.skipped_rows.append(SkippedRow(row, existing_row))
        elif refusal.statement_error and row.batch_index not in self._retried:
            self._retry_last(row, values)
        else:
            self.refused.append(RefusedRow(row, str(refusal), refusal.statement_error))

    def _retry_last(self, row: NewRow, values: tuple[object, ...]) -> None:
        """Move the row to the end, because the error may be gone by then. Later rows of the same order_id follow it."""
        self._retried.add(row.batch_index)
        moved = [(row, values)]
        while self.waiting and self.waiting[0][0].order.order_id == row.order.order_id:  # the rows are sorted by it
            moved.append(self.waiting.pop(0))
        self.waiting += moved

    def find_altered(self) -> list[RefusedRow]:
        """Return the written rows that the server has altered."""
        stored = find_by_order_id(self._connection, self._written)
        contract = loader.contract_of(self._connection.settings)
        return [
            RefusedRow(row, detail)
            for order_id, row in self._written.items()
            if (detail := _alteration(contract, row, stored.get(order_id)))
        ]


def probe(connection: Connection) -> None:
    """Write no row. Raises the error that every row would cause, whatever its values."""
    connection.execute("probe_orders")


def _values(rows: pa.Table, stored_at: datetime) -> list[tuple[object, ...]]:
    columns = [column.to_pylist() for column in rows.drop_columns("batch_index").columns]
    return [(*row, stored_at) for row in zip(*columns, strict=True)]


def iterate_rows(connection: Connection, rows: pa.Table) -> Iterable[NewRow]:
    """Return the rows one by one."""
    columns = (rows[name].to_pylist() for name in ("kafka_partition", "kafka_offset", "batch_index"))
    return map(NewRow, as_orders(rows, loader.contract_of(connection.settings)), *columns)


def exclude(rows: pa.Table, batch_indexes: Collection[int]) -> pa.Table:
    """Return the rows without those of these batch indexes."""
    if not batch_indexes:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows["batch_index"], pa.array(batch_indexes, pa.int64()))))


def find_by_order_id(connection: Connection, order_ids: Iterable[str]) -> dict[str, ExistingRow]:
    """Return the table's rows with these ids."""
    ids = list(dict.fromkeys(order_ids))
    existing_rows: dict[str, ExistingRow] = {}
    for start in range(0, len(ids), _SELECT_IDS):
        id_portion = ids[start : start + _SELECT_IDS]
        rows = connection.execute("select_orders", id_portion, ids=placeholders_for(id_portion)).rows
        for *order, partition, offset, produced_at, stored_at in rows:
            existing_rows[str(order[_ORDER_ID])] = ExistingRow(
                tuple(map(_as_datetime, order)), partition, offset, produced_at, stored_at
            )
    return existing_rows


def newest(connection: Connection) -> tuple[str, datetime] | None:
    """Return the order with the latest order_timestamp, and that time (UTC, naive); None if there is no order."""
    rows = connection.execute("select_newest").rows
    connection.rollback()
    return rows[0] if rows else None


def find_conflict(contract: Contract, row: NewRow, existing_row: ExistingRow) -> RecordRejected | None:
    """Return None if the row equals the stored one and so is its duplicate; otherwise the rejection."""
    if not (differing := _differences(contract, row, existing_row, "in the table", "in this record")):
        return None
    return RecordRejected(Reason.CONFLICT, f"{row.order.order_id} is already stored, but {differing}")


def _differences(contract: Contract, row: NewRow, existing_row: ExistingRow, existing: str, new: str) -> str:
    return ", ".join(
        f"{name} is {_shown(existing_value)} {existing} and {_shown(new_value)} {new}"
        for name, existing_value, new_value in zip(
            contract.column_names, existing_row.order, row.order.row(), strict=True
        )
        if existing_value != new_value
    )


def _shown(value: object) -> str:
    if value is None:
        return "NULL"
    text = ascii(str(value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _skipped_rows(
    connection: Connection, rows: pa.Table, stored_at: datetime, result: StatementResult, *, sent_rows: pa.Table
) -> list[SkippedRow]:
    """Return the rows of a statement that were not written because their order_id exists already.

    `sent_rows` are those of all statements of the transaction. With LOCAL or IGNORE, the server changes invalid
    values instead of refusing them. If the warnings do not explain the result completely, the rows are read back.

    Raises RowsAltered.
    """
    missing = len(rows) - result.changed
    if not missing and not result.warnings:
        return []
    warnings = connection.execute("show_warnings").rows
    other_warnings = [text for _, code, text in warnings if code != DUPLICATE_ENTRY]
    if len(warnings) == missing == result.warnings and not other_warnings:
        # Exactly this number of keys existed, and no value was changed. The texts show which rows to query first.
        hinted_ids = {order_id for _, _, text in warnings for order_id in _ORDER_ID_IN_TEXT.findall(text)}
        hinted_rows = rows.filter(pc.is_in(rows["order_id"], pa.array(hinted_ids, pa.string())))
        skipped_rows = _rows_with_existing_id(connection, hinted_rows, stored_at)
        if len(skipped_rows) == missing:
            return skipped_rows
    return _read_again(connection, rows, stored_at, missing, other_warnings, sent_rows)


def _read_again(  # noqa: PLR0917
    connection: Connection,
    rows: pa.Table,
    stored_at: datetime,
    missing: int,
    warnings: Sequence[str],
    sent_rows: pa.Table,
) -> list[SkippedRow]:
    """Return the skipped rows by comparing each sent row with the table. `warnings` are only quoted.

    Raises RowsAltered; and RowsRefused if the table does not explain the number of missing rows.
    """
    reasons = list(dict.fromkeys(_ROW_IN_TEXT.sub("", text) for text in warnings))[:_REASONS]
    stored = find_by_order_id(connection, rows["order_id"].to_pylist())
    contract = loader.contract_of(connection.settings)
    sent_coordinates = {(row.order.order_id, row.partition, row.offset) for row in iterate_rows(connection, sent_rows)}
    skipped_rows: list[SkippedRow] = []
    refused: list[RefusedRow] = []
    for row in iterate_rows(connection, rows):
        existing_row = stored.get(row.order.order_id)
        if existing_row and _is_of_another_record(existing_row, row, stored_at, sent_coordinates):
            skipped_rows.append(SkippedRow(row, existing_row))
        elif detail := _alteration(contract, row, existing_row, reasons):
            refused.append(RefusedRow(row, detail))
    if refused:
        raise RowsAltered(refused)
    if len(skipped_rows) != missing:
        raise RowsRefused(
            f"the server skipped {counted(missing, 'row')}, but the table has the ids of {len(skipped_rows):,}"
        )
    return skipped_rows


def _is_of_another_record(
    existing_row: ExistingRow, row: NewRow, stored_at: datetime, sent_coordinates: Collection[tuple[object, ...]]
) -> bool:
    """Whether the existing row with the row's order_id is another record's, so that the row was skipped."""
    if existing_row.stored_at != stored_at:
        return True  # it existed before these rows were sent
    # Otherwise only if the order_id occurs twice in the sent rows, and the existing row is the other one.
    coordinates = (row.order.order_id, existing_row.partition, existing_row.offset)
    return coordinates in sent_coordinates and not _has_coordinates_of(existing_row, row)


def _has_coordinates_of(existing_row: ExistingRow, row: NewRow) -> bool:
    """Whether the existing row has the coordinates of the row's record."""
    return (existing_row.partition, existing_row.offset) == (row.partition, row.offset)


def _alteration(contract: Contract, row: NewRow, existing_row: ExistingRow | None, reasons: Sequence[str] = ()) -> str:
    """Describe how the server altered a row that it accepted without an error; empty if the row is as sent.

    `reasons` are the warnings of the row's statement, which may be about other rows.
    """
    if existing_row is None:
        return f"the server did not write it; its warnings: {'; '.join(reasons) or 'none'}"
    if not _has_coordinates_of(existing_row, row):
        return (
            f"the server stored offset {row.offset} of partition {row.partition} as offset {existing_row.offset} of"
            f" {existing_row.partition}"
        )
    differing = _differences(contract, row, existing_row, "stored", "sent")
    return f"the server changed values: {differing}" if differing else ""


def _rows_with_existing_id(connection: Connection, rows: pa.Table, stored_at: datetime) -> list[SkippedRow]:
    """Return the rows whose order_id is stored with the coordinates of another record, or by another transaction."""
    stored = find_by_order_id(connection, rows["order_id"].to_pylist())
    return [
        SkippedRow(row, existing_row)
        for row in iterate_rows(connection, rows)
        if (existing_row := stored.get(row.order.order_id))
        and not (_has_coordinates_of(existing_row, row) and existing_row.stored_at == stored_at)
    ]


def _as_datetime(value: object) -> object:
    """Return a date as a datetime: a DATETIME column that a person changed to DATE returns dates."""
    return datetime.combine(value, time()) if isinstance(value, date) and not isinstance(value, datetime) else value
