"""`orderflow quarantine discard`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from orderflow.cli import context
from orderflow.cli.quarantine.options import By, Everything, Ids, OrderId, Partition, Reason, Since, Until
from orderflow.cli.quarantine.selection import filter_of, select


def discard(
    ids: Ids = None,
    *,
    because: Annotated[str, typer.Option(help="The reason to record.")],
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    order_id: OrderId = None,
    everything: Everything = False,
    by: By = "",
) -> None:
    """Discard open records: they stay in the table, marked as discarded, with the person, the time and the reason.

    Exit codes: 0 done; 1 some of the ids are not open; 2 it failed.

    Example: `orderflow quarantine discard 12 13 --because "test messages of the new shop"`
    """
    from orderflow.store import quarantine
    from orderflow.store.connection import Connection

    if not 1 <= len(because.strip()) <= 1000:
        raise typer.BadParameter("--because needs 1 to 1,000 characters")
    by = context.person(by)
    wanted = filter_of(reason=reason, since=since, until=until, partition=partition, order_id=order_id)
    with Connection(context.load()) as connection:
        total, entries = select(connection, ids, wanted, everything)
        done = 0
        while batch := [entry.quarantine_id for entry in islice(entries, 1000)]:
            done += quarantine.discard(connection, batch, by=by, because=because)
    if total:
        print(f"{done:,} discarded{f', {total - done:,} not open' if done < total else ''}.")
    if done < total:
        raise typer.Exit(1)
