"""Rows into the orders table, and which of them were there already.

Rejected: a staging table and INSERT … SELECT (45–70 k rows/s where LOAD DATA into the table itself makes 90 k).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from orderflow import native
from orderflow.errors import RecordRejected
from orderflow.order import FIELDS, TEXTS, Reason
from orderflow.reading import as_orders
from orderflow.store.connection import Connection, Result, RowsRefusedError
from orderflow.store.run import Row, Run
from orderflow.store.statements import marks

DUPLICATE_ENTRY = 1062
_INSERT_ROWS = 1000  # per statement: 47–58 k rows/s, more rows gain nothing
_SELECT_IDS = 1000  # per statement; more gain nothing
_RECORD = ("kafka_partition", "kafka_offset", "produced_at")
_TIMES = ("order_timestamp", "produced_at")
_YEAR_10000 = 253_402_300_800_000  # milliseconds
_ORDER_ID_IN_TEXT = re.compile(r"ORDER-[0-9]{6,44}")


class Stored(NamedTuple):
    """A row as it stands in the table; `order` as Order.row gives it."""

    order: tuple[object, ...]
    partition: int | None
    offset: int | None
    stored_at: datetime | None


class LeftOut(NamedTuple):
    """A row that was not written, and the one of the same order_id that stands in the table."""

    row: Row
    there: Stored


def as_rows(accepted: pa.Table, run: Run, *, alone: bool = True) -> pa.Table:
    """The orders of a reading of the run, with LOAD DATA's other columns and their places, sorted by order_id.

    Sorted, they fill each page of the table once, and two transactions cannot want the same keys in opposite orders. Of
    two orders with one id, the run's first stays first. Where others fill the gaps between them, they are sorted by the
    id's last digit first: a full page is split into halves, and only what comes to it from all sides fills both again.
    """
    by = [("order_id", "ascending")]
    if not alone:
        accepted = accepted.append_column("last_digit", pc.utf8_slice_codeunits(accepted["order_id"], -1))
        by.insert(0, ("last_digit", "ascending"))
    accepted = accepted.sort_by(by)
    places = accepted["place"]
    partitions, offsets, milliseconds = (
        pa.array(column, pa.int64()).take(places) for column in (run.partitions, run.offsets, run.timestamps)
    )
    known = pc.and_(pc.greater_equal(milliseconds, 0), pc.less(milliseconds, _YEAR_10000))
    produced = pc.if_else(known, milliseconds, None).cast(pa.timestamp("ms")).cast(pa.string())
    columns = [partitions, offsets, produced, places]
    return pa.table([*accepted.select(FIELDS).columns, *columns], names=[*FIELDS, *_RECORD, "place"])


def load(connection: Connection, rows: pa.Table, stored_at: datetime, infile: Path) -> list[LeftOut]:
    """Write by LOAD DATA LOCAL through the file `infile`; gives back the rows whose order_id was taken.

    Raises RowsRefusedError.
    """
    produced = rows["produced_at"].fill_null(native.NONE)
    written = rows.select([*FIELDS, *_RECORD[:-1]]).append_column(_RECORD[-1], produced)
    infile.write_bytes(native.write(written, times=_TIMES, free_texts=TEXTS))
    try:
        result = connection.run("load_orders", (str(infile), stored_at))
    finally:
        infile.unlink()
    return _left_out(connection, rows, stored_at, result)


def insert(connection: Connection, rows: pa.Table, stored_at: datetime) -> list[LeftOut]:
    """The same by multi-row INSERT, for servers with local_infile off."""
    left_out: list[LeftOut] = []
    for start in range(0, len(rows), _INSERT_ROWS):
        some = rows.slice(start, _INSERT_ROWS)
        columns = [column.to_pylist() for column in some.drop_columns("place").columns]
        values = [(*row, stored_at) for row in zip(*columns, strict=True)]
        left_out += _left_out(connection, some, stored_at, connection.run_rows("insert_orders", values))
    return left_out


def each(rows: pa.Table) -> Iterable[Row]:
    """The rows one by one."""
    columns = (rows[name].to_pylist() for name in ("kafka_partition", "kafka_offset", "place"))
    return map(Row, as_orders(rows), *columns)


def without(rows: pa.Table, places: Collection[int]) -> pa.Table:
    """The rows but those of these places."""
    if not places:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows["place"], pa.array(places, pa.int64()))))


def find(connection: Connection, order_ids: Iterable[str]) -> dict[str, Stored]:
    """The rows of these ids that stand in the table."""
    ids = list(dict.fromkeys(order_ids))
    found: dict[str, Stored] = {}
    for start in range(0, len(ids), _SELECT_IDS):
        some = ids[start : start + _SELECT_IDS]
        for *order, partition, offset, stored_at in connection.run("select_orders", some, ids=marks(some)).rows:
            found[str(order[1])] = Stored(tuple(order), partition, offset, stored_at)
    return found


def newest(connection: Connection) -> tuple[str, datetime] | None:
    """The order with the latest order_timestamp, and that time (UTC, naive); None where there is no order."""
    rows = connection.run("select_newest").rows
    connection.rollback()
    return rows[0] if rows else None


def conflict(row: Row, there: Stored) -> RecordRejected | None:
    """None if the row says the same as the stored one, and so is its duplicate."""
    differing = [
        f"{name} is {str(found)!a} there and {str(given)!a} here"
        for name, found, given in zip(FIELDS, there.order, row.order.row(), strict=True)
        if found != given
    ]
    if not differing:
        return None
    return RecordRejected(Reason.CONFLICT, f"{row.order.order_id} is stored already, but {', '.join(differing)}")


def _left_out(connection: Connection, rows: pa.Table, stored_at: datetime, result: Result) -> list[LeftOut]:
    """The rows the server did not write, which must be exactly those whose key was taken.

    LOCAL (and IGNORE) make the server clamp and truncate instead of refusing, so any other warning is a refusal.
    """
    missing = len(rows) - result.changed
    if not missing and not result.warnings:
        return []
    told = connection.run("show_warnings").rows
    other = [text for _, code, text in told if code != DUPLICATE_ENTRY]
    # A server that lists fewer warnings than it gave is asked again, by halves, until it lists them all.
    if other or len(told) != missing:
        raise RowsRefusedError(other[0] if other else f"{missing} rows left out with {len(told)} warnings")
    # The warnings' texts only say where to look first; what counts is what stands in the table.
    hinted = {order_id for _, _, text in told for order_id in _ORDER_ID_IN_TEXT.findall(text)}
    left_out = _taken(connection, rows.filter(pc.is_in(rows["order_id"], pa.array(hinted, pa.string()))), stored_at)
    if len(left_out) != missing:
        left_out = _taken(connection, rows, stored_at)
    if len(left_out) != missing:
        raise RowsRefusedError(f"{missing} rows left out, of which {len(left_out)} stand in the table")
    return left_out


def _taken(connection: Connection, rows: pa.Table, stored_at: datetime) -> list[LeftOut]:
    """The rows whose order_id stands in the table with the coordinates of another record, or of another transaction."""
    stored = find(connection, rows["order_id"].to_pylist())
    return [
        LeftOut(row, there)
        for row in each(rows)
        if (there := stored.get(row.order.order_id)) and there[1:] != (row.partition, row.offset, stored_at)
    ]


def produced_at(timestamp: int) -> str | None:
    """A record's timestamp (milliseconds since 1970 UTC) as DATETIME(3); None where it has none or an absurd one."""
    if not 0 <= timestamp < _YEAR_10000:
        return None
    return f"{_second(timestamp // 1000)}.{timestamp % 1000:03d}"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
