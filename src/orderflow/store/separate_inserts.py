"""Writes each row with its own statement, to find the rows that the server refuses."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from orderflow.contract import loader
from orderflow.store.connection import Connection, RowsRefused
from orderflow.store.error_numbers import DUPLICATE_ENTRY
from orderflow.store.existing_orders import describe_alteration, find_by_order_id
from orderflow.store.order_rows import as_values, iterate_rows
from orderflow.store.record_batch import NewRow
from orderflow.store.skipped_rows import RefusedRow, RowsAltered, SkippedRow

_STATEMENTS = 200  # statements in a round trip


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
        self._retried: set[int] = set()  # batch indexes of rows that were sent a second time
        self._statements = _STATEMENTS  # statements in the next round trip
        existing_rows = find_by_order_id(connection, rows["order_id"].to_pylist())
        for row, values in zip(iterate_rows(connection, rows), as_values(rows, stored_at), strict=True):
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
            if (detail := describe_alteration(contract, row, stored.get(order_id)))
        ]
