"""Writes rows to the orders table, by LOAD DATA or by multi-row INSERT.

Rejected: a staging table and INSERT … SELECT (45–70 k rows/s, where LOAD DATA into the table itself reaches 90 k).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow as pa

from orderflow.contract import loader, native
from orderflow.errors import translate_shortages
from orderflow.store.connection import Connection, estimated_bytes, split_by_size, translate_row_errors
from orderflow.store.order_rows import as_values
from orderflow.store.skipped_rows import SkippedRow, find_skipped_rows

_INSERT_ROWS = 1000  # rows in a statement: 47–58 k rows/s; more rows bring no gain
_INSERT_BYTES = 4 * 1024 * 1024  # bytes in a statement; larger ones bring no gain


def load(connection: Connection, rows: pa.Table, stored_at: datetime, infile: Path) -> list[SkippedRow]:
    """Write by LOAD DATA LOCAL through the file `infile`. Return the rows whose order_id exists already.

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
    return find_skipped_rows(connection, rows, stored_at, result, sent_rows=rows)


def insert(connection: Connection, rows: pa.Table, stored_at: datetime) -> list[SkippedRow]:
    """Write by multi-row INSERT, for servers with local_infile off. Otherwise the same as `load`."""
    skipped_rows: list[SkippedRow] = []
    sent = 0
    for start in range(0, len(rows), _INSERT_ROWS):
        values = as_values(rows[start : start + _INSERT_ROWS], stored_at)
        for portion in split_by_size(values, estimated_bytes, min(_INSERT_BYTES, connection.max_values_bytes)):
            with translate_row_errors():
                result = connection.execute_rows("insert_orders", portion)
            portion_rows = rows[sent : sent + len(portion)]
            skipped_rows += find_skipped_rows(connection, portion_rows, stored_at, result, sent_rows=rows)
            sent += len(portion)
    return skipped_rows


def probe(connection: Connection) -> None:
    """Write no row. Raises the error that every row would cause, whatever its values."""
    connection.execute("probe_orders")
