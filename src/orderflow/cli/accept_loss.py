"""`orderflow accept-loss`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orderflow.cli import context
from orderflow.errors import TopicMissing


def accept_loss(
    yes: Annotated[bool, typer.Option("--yes", help="Accept the loss. Without this option, it is only shown.")] = False,
    by: Annotated[
        str,
        typer.Option(help="Name to record as the person responsible.", show_default="OS user @ host"),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Continue after records that cannot be stored: retention removed them, or their batch is damaged.

    If retention removed records that were not stored, the sink stops. In a partition with a damaged batch, it stores
    the records before the batch; the other partitions continue. In both cases it reports the offsets.

    This command shows these offsets. With --yes, it records them in the table of losses, with the name of the person
    and the time. It then moves the ledger's position past them: to the topic's first record, or to the next readable
    batch. Accepted offsets are never read again. To lose nothing, restore the topic from a copy or a replica instead.

    Exit codes: 0 nothing is lost, or the loss is accepted; 1 something is lost, and --yes is missing; 2 the topic or
    the tables cannot be read.

    Examples:

    - `orderflow accept-loss`
    - `orderflow accept-loss --yes && orderflow sink`
    """
    from orderflow import topic
    from orderflow.positions import start_checks
    from orderflow.store import ledger
    from orderflow.store.connection import Connection

    settings, by = context.load(), context.person(by)
    with Connection(settings) as connection:
        try:
            topic_info = topic.describe(settings)
        except TopicMissing as missing:
            start_checks.check_not_deleted(settings, connection, missing)
            raise
        all_bounds = topic.bounds(settings, topic_info.partitions)
        first_offsets = {partition: bounds.first for partition, bounds in all_bounds.items()}
        positions = ledger.read_positions(connection, topic_info.name, topic_info.topic_id, topic_info.partitions)
        damaged = [
            damaged_range
            for partition, position in positions.items()
            if position >= first_offsets.get(partition, position + 1)
            and (damaged_range := topic.find_damage(settings, partition, position))
        ]
        if yes:
            losses = ledger.accept_losses(connection, topic_info.name, topic_info.topic_id, first_offsets, by, damaged)
        else:
            losses = ledger.find_losses(connection, topic_info.name, topic_info.topic_id, first_offsets, damaged)
    if as_json:
        shown = [
            {"partition": loss.partition, "first_offset": loss.first_offset, "end_offset": loss.end_offset}
            for loss in losses
        ]
        print(json.dumps({"topic": topic_info.name, "accepted": yes and bool(losses), "losses": shown}))
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
            print("Nothing was changed. To accept the loss, add --yes.")
    if losses and not yes:
        raise typer.Exit(1)
