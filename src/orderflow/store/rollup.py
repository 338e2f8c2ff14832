"""The per-minute rollup: orders, units and revenue by minute, category and partition."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from orderflow.store.connection import Connection

_ROWS = 1000  # rows in a statement
_KEYS = ["minute", "product_category", "kafka_partition"]
_SUMS = [("quantity", "count"), ("quantity", "sum"), ("total_price", "sum")]


def add(connection: Connection, rows: pa.Table) -> None:
    """Add the rows stored in this transaction to the rollup."""
    minutes = pc.utf8_slice_codeunits(rows["order_timestamp"], 0, 16)
    groups = rows.append_column("minute", minutes).group_by(_KEYS, use_threads=False)
    columns = [column.to_pylist() for column in groups.aggregate(_SUMS).columns]
    # All writers use the same order, so that two of them cannot deadlock here.
    ordered = sorted(zip(*columns, strict=True))
    for start in range(0, len(ordered), _ROWS):
        connection.execute_rows(
            "add_by_minute",
            [(f"{minute}:00", *values) for minute, *values in ordered[start : start + _ROWS]],
        )
