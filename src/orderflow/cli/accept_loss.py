"""`orderflow accept-loss`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orderflow.cli import context


def accept_loss(
    yes: Annotated[bool, typer.Option("--yes", help="Accept it; without this, it is only shown.")] = False,
    by: Annotated[str, typer.Option(help="Who accepts it, for the record.", show_default="OS user @ host")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Go on after records that left the topic before they were stored (retention, deletion).

    The sink stops at such a loss and names the offsets. This records them, with who and when, in the table of losses,
    where `orderflow audit` shows them for ever, and moves the ledger's position to the topic's first record. Restoring
    the topic from a copy is the way to lose nothing: what is accepted is not read any more.

    Exit code: 0 nothing is lost, or it is accepted; 1 something is lost, and --yes is missing; 2 it failed.

    Example: `orderflow accept-loss --yes && orderflow sink`
    """
    from orderflow import topic
    from orderflow.store import ledger
    from orderflow.store.connection import Connection

    current = context.load()
    info = topic.describe(current)
    first = {number: bounds.first for number, bounds in topic.bounds(current, info.partitions).items()}
    with Connection(current) as connection:
        if yes:
            losses = ledger.accept_losses(connection, info.name, info.topic_id, first, by or context.person())
        else:
            losses = ledger.find_losses(connection, info.name, info.topic_id, first)
    if as_json:
        shown = [
            {"partition": loss.partition, "first_offset": loss.first_offset, "end_offset": loss.end_offset}
            for loss in losses
        ]
        print(json.dumps({"topic": info.name, "accepted": yes and bool(losses), "losses": shown}))
    else:
        for loss in losses:
            count = loss.end_offset - loss.first_offset
            print(
                f"{loss.topic} partition {loss.partition}: offsets {loss.first_offset} to {loss.end_offset - 1}"
                f" ({count:,}) {'are accepted as lost' if yes else 'are lost'}"
            )
        if not losses:
            print("Nothing is lost.")
        elif not yes:
            print("Nothing was changed. --yes accepts it.")
    if losses and not yes:
        raise typer.Exit(1)
