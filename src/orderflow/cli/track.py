"""`orderflow track`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow.cli import context
from orderflow.cli.text import safe, to_json

if TYPE_CHECKING:
    from orderflow.insights.track import TrackedOrder

_MAX_SHOWN_CHARACTERS = 2_000  # of a value


def track(
    order_id: Annotated[
        str, typer.Argument(metavar="ORDER-ID", help="The id, such as ORDER-000123, or only its number.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show one order's history: its row, its place in Kafka, the time of each step, its conflicts.

    It reads from the database of the `orderflow up` that runs in ORDERFLOW_HOME, or else from that of the MYSQL_…
    settings.

    Exit codes: 0 the order is in the table; 1 it is not; 2 the table cannot be read.

    Examples:

    - `orderflow track ORDER-000123`
    - `orderflow track 123 --json`
    """
    from orderflow.insights.track import track_order
    from orderflow.store import viewer_queries

    with viewer_queries.open_reader(context.load()) as connection:
        tracked = track_order(connection, order_id)
    print(to_json(tracked) if as_json else "\n".join(_lines(tracked)))
    if tracked.order is None:
        raise typer.Exit(1)


def _lines(tracked: TrackedOrder) -> Iterator[str]:
    order = tracked.order
    if order is None:
        yield f"{tracked.order_id} is not in the table. If it was sent a moment ago, it may still wait in Kafka."
    else:
        yield f"{tracked.order_id} is stored."
        yield f"  customer   {safe(str(order.customer_id))}"
        yield f"  product    {safe(order.product_name)} ({safe(order.product_category)})"
        yield f"  price      {order.unit_price} × {order.quantity} = {order.total_price}"
        yield f"  placed     {_shown(order.order_timestamp)}"
        for name, value in order.custom_fields.items():
            yield f"  {name:<10} {_shown(value)}"
        if order.offset is None:
            yield "  The row was not written by OrderFlow, so its record is unknown."
        else:
            yield f"  record     partition {order.partition}, offset {order.offset}"
        if order.produced_at:
            yield f"  in Kafka   {_instant(order.produced_at)} ({tracked.to_kafka:+,.3f} s)"
        if order.stored_at and tracked.to_table is not None:
            yield f"  in table   {_instant(order.stored_at)} ({tracked.to_table:+,.3f} s)"
    for record in tracked.quarantined:
        yield f"In the quarantine as {record.quarantine_id} ({record.status}): {record.reason}, {safe(record.detail)}"
        yield f"  partition {record.partition}, offset {record.offset}, {record.quarantined_at:%Y-%m-%d %H:%M:%S} UTC"


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".") + " UTC"
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value is None else safe(str(value), _MAX_SHOWN_CHARACTERS)


def _instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03} UTC"
