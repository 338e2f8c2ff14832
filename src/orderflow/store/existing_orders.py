"""Reads rows of the orders table, and compares them with rows that were sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from typing import NamedTuple

from orderflow.contract.definition import STANDARD_FIELDS, Contract, Reason
from orderflow.errors import RecordRejected
from orderflow.store.connection import Connection
from orderflow.store.record_batch import NewRow
from orderflow.store.statements import placeholders_for

_SELECT_IDS = 1000  # ids in a statement; more bring no gain
_ORDER_ID = STANDARD_FIELDS.index("order_id")  # its position in a row
_LONGEST_SHOWN = 3_000  # characters of a value in a reason


class ExistingRow(NamedTuple):
    """A row of the table; `order` has the form of Order.row."""

    order: tuple[object, ...]
    partition: int | None
    offset: int | None
    produced_at: datetime | None
    stored_at: datetime | None

    def has_coordinates_of(self, row: NewRow) -> bool:
        """Whether it has the coordinates of the row's record."""
        return (self.partition, self.offset) == (row.partition, row.offset)


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


def _as_datetime(value: object) -> object:
    """Return a date as a datetime: a DATETIME column that a person changed to DATE returns dates."""
    return datetime.combine(value, time()) if isinstance(value, date) and not isinstance(value, datetime) else value


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


def describe_alteration(
    contract: Contract, row: NewRow, existing_row: ExistingRow | None, reasons: Sequence[str] = ()
) -> str:
    """Describe how the server altered a row that it accepted without an error; empty if the row is as sent.

    `reasons` are the warnings of the row's statement, which may be about other rows.
    """
    if existing_row is None:
        return f"the server did not write it; its warnings: {'; '.join(reasons) or 'none'}"
    if not existing_row.has_coordinates_of(row):
        return (
            f"the server stored offset {row.offset} of partition {row.partition} as offset {existing_row.offset} of"
            f" {existing_row.partition}"
        )
    differing = _differences(contract, row, existing_row, "stored", "sent")
    return f"the server changed values: {differing}" if differing else ""


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
