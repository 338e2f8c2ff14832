"""`orderflow console`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import asdict

from orderflow.cli import context
from orderflow.cli.text import safe
from orderflow.errors import RecordRejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orderflow.contract.definition import Field, Order
    from orderflow.topic import Record

_HEADER = (
    f"{'partition':>9} {'offset':>10}  {'order':<16} {'customer':>9}  {'product':<28}"
    f" {'price':>11} {'qty':>5} {'total':>12}  ordered"
)


def console(
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the first record of the topic.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many records.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per record.")] = False,
) -> None:
    """Show records as they arrive in the topic: orders, and invalid records with the reason.

    For debugging: it stores nothing and does not affect the sink. Ctrl-C stops it. Partitions that are added to the
    topic while it runs are not read.

    Exit codes: 0 --count records are shown; 2 the topic cannot be read; 130 stopped by Ctrl-C.

    Example: `orderflow console --from-beginning --count 20`
    """
    from orderflow import topic
    from orderflow.contract import exact_path, loader
    from orderflow.contract.order_ranges import range_check_of

    settings = context.load()
    contract, range_check = loader.contract_of(settings), range_check_of(settings)
    if not as_json:
        print(_HEADER)
    for shown, record in enumerate(topic.follow(settings, from_beginning=from_beginning), 1):
        result: Order | RecordRejected
        try:
            result = exact_path.decode(record.value, contract, range_check)
        except RecordRejected as rejected:
            result = rejected
        print(_as_json(record, result, contract.custom_columns) if as_json else _as_line(record, result), flush=True)
        if shown == count:
            break


def _as_line(record: Record, result: Order | RecordRejected) -> str:
    coordinates = f"{record.partition:>9} {record.offset:>10}"
    if isinstance(result, RecordRejected):
        return f"{coordinates}  REJECTED {result.reason}: {safe(result.message)}"
    return (
        f"{coordinates}  {result.order_id:<16} {safe(str(result.customer_id)):>9}  {safe(result.product_name, 28):<28}"
        f" {result.unit_price:>11,.2f} {result.quantity:>5} {result.total_price:>12,.2f}  {result.order_timestamp}"
    )


def _as_json(record: Record, result: Order | RecordRejected, custom_columns: Sequence[Field]) -> str:
    from orderflow.store.record_batch import produced_at
    from orderflow.store.viewer_queries import map_custom_values

    shown: dict[str, object] = {
        "partition": record.partition,
        "offset": record.offset,
        "produced_at": produced_at(record.timestamp),
    }
    if isinstance(result, RecordRejected):
        shown |= {"reason": result.reason, "detail": result.message}
    else:
        order = asdict(result)
        values = map_custom_values(custom_columns, order.pop("custom_values"))
        shown["order"] = order | values
    return json.dumps(shown, default=_as_text)


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
