"""`orderflow status`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from orderflow.cli import context


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show how the flow stands: stored, duplicates, quarantined, lag by partition, the newest order and its age.

    Asks the `orderflow up` of this folder if one runs, else the servers of the KAFKA_… and MYSQL_… settings.
    """
    from orderflow.insights import status as insight
    from orderflow.store.connection import Connection

    current = context.load()
    with Connection(current) as connection:
        found = insight.read(connection, current)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    print(f"Kafka     {current.kafka_bootstrap_servers}, topic {found.topic}")
    print(f"Database  {current.database_address}, table {current.mysql_database}.{current.mysql_table}")
    print(
        f"{found.stored:,} stored, {found.duplicates:,} duplicates, {found.quarantined:,} quarantined,"
        f" lag {_number(found.lag)}; {found.unknown_fields:,} unknown fields seen"
    )
    for part in found.partitions:
        print(
            f"  partition {part.partition}: next offset {part.next_offset:,}, end {_number(part.end)},"
            f" lag {_number(part.lag)}"
        )
    if found.newest_order:
        print(f"Newest order {found.newest_order}, {found.newest_age_seconds:,.0f} s old")


def _number(value: int | None) -> str:
    return "unknown (Kafka does not answer)" if value is None else f"{value:,}"
