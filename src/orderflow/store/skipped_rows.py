"""Finds the rows that a statement has not written, or not as sent.

The table's content decides. If the server wrote every row without a warning, no query is needed. (Both servers count
warnings regardless of max_error_count; they count notes too, because the session sets sql_notes.)
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from orderflow.contract import loader
from orderflow.errors import OrderFlowError
from orderflow.plurals import counted
from orderflow.store.connection import Connection, RowsRefused, StatementResult
from orderflow.store.error_numbers import DUPLICATE_ENTRY
from orderflow.store.existing_orders import ExistingRow, describe_alteration, find_by_order_id
from orderflow.store.order_rows import iterate_rows
from orderflow.store.record_batch import NewRow

_REASONS = 3  # texts of warnings that a reason shows, at most
_ROW_IN_TEXT = re.compile(r" at row \d+")
_ORDER_ID_IN_TEXT = re.compile(r"'([!-~]+)' for key")


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


def find_skipped_rows(
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


def _rows_with_existing_id(connection: Connection, rows: pa.Table, stored_at: datetime) -> list[SkippedRow]:
    """Return the rows whose order_id is stored with the coordinates of another record, or by another transaction."""
    stored = find_by_order_id(connection, rows["order_id"].to_pylist())
    return [
        SkippedRow(row, existing_row)
        for row in iterate_rows(connection, rows)
        if (existing_row := stored.get(row.order.order_id))
        and not (existing_row.has_coordinates_of(row) and existing_row.stored_at == stored_at)
    ]


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
        elif detail := describe_alteration(contract, row, existing_row, reasons):
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
    return coordinates in sent_coordinates and not existing_row.has_coordinates_of(row)
