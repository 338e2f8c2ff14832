"""The rows of the orders table that a batch's accepted records become: an Arrow table in the order of their writing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from orderflow.contract import loader
from orderflow.contract.definition import LAST_MILLISECOND, Contract
from orderflow.contract.fast_path import as_orders
from orderflow.store.connection import Connection
from orderflow.store.record_batch import NewRow, RecordBatch

_RECORD = ("kafka_partition", "kafka_offset", "produced_at")


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


def iterate_rows(connection: Connection, rows: pa.Table) -> Iterable[NewRow]:
    """Return the rows one by one."""
    columns = (rows[name].to_pylist() for name in ("kafka_partition", "kafka_offset", "batch_index"))
    return map(NewRow, as_orders(rows, loader.contract_of(connection.settings)), *columns)


def as_values(rows: pa.Table, stored_at: datetime) -> list[tuple[object, ...]]:
    """Return the rows as tuples for INSERT."""
    columns = [column.to_pylist() for column in rows.drop_columns("batch_index").columns]
    return [(*row, stored_at) for row in zip(*columns, strict=True)]


def exclude(rows: pa.Table, batch_indexes: Collection[int]) -> pa.Table:
    """Return the rows without those of these batch indexes."""
    if not batch_indexes:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows["batch_index"], pa.array(batch_indexes, pa.int64()))))
