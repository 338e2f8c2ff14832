"""`orderflow init`."""

from __future__ import annotations

from typing import Annotated

import typer

from orderflow.cli import context
from orderflow.errors import TopicMissing


def init(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what is missing, as SQL; change nothing.")
    ] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the topic, if it has to be made.")] = 3,
) -> None:
    """Make what is missing: the topic, the database, the tables.

    The sink does the same at start. A table of orders with the eight columns that is there already is taken over;
    one that differs is refused, with the difference and the statement that would mend it.

    Example: `orderflow init --dry-run > orderflow.sql`, for a user who may not create tables.
    """
    from orderflow import topic
    from orderflow.store import schema

    current = context.load()
    if dry_run:
        for step in schema.missing(current):
            print(f"-- {step.what}\n{schema.statement_of(step, current)}\n")
        try:
            topic.describe(current)
        except TopicMissing:
            print(f"-- topic {current.kafka_topic} is missing: `orderflow init` makes it, {partitions} partitions")
        return
    made = [step.what for step in schema.prepare(current)]
    try:
        info = topic.describe(current)
    except TopicMissing:
        info = topic.create(current, partitions)
        made.append(f"topic {info.name}")
    for what in made:
        print(f"Made {what}.")
    print(
        f"Ready: topic {info.name} with {len(info.partitions)} partitions at {current.kafka_bootstrap_servers},"
        f" table {current.mysql_database}.{current.mysql_table} at {current.database_address}."
    )
