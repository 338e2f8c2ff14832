"""`orderflow init`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow.cli import context, output
from orderflow.errors import TopicMissing
from orderflow.plurals import counted
from orderflow.settings import Settings

if TYPE_CHECKING:
    from orderflow.topic import TopicInfo


def init(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL that creates what is missing, and change nothing.")
    ] = False,
    grants: Annotated[
        bool,
        typer.Option(
            "--grants",
            help="Print SQL and kafka-acls.sh commands that create users and privileges, and change nothing.",
        ),
    ] = False,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=2**31 - 1,
            help="Number of partitions of the topic; the missing ones are added. Default for a new topic: 3.",
        ),
    ] = None,
) -> None:
    """Create the topic, the database and the tables if they are missing, and upgrade the tables of an older version.

    At its start, the sink does the same for database and tables. It creates the topic only if the brokers have
    auto.create.topics.enable, and it adds no partitions. Partitions can be added while everything runs.

    An existing orders table with exactly the standard columns is adopted. A table that differs is refused, with the
    difference and the statement that fixes it.

    Exit codes: 0 everything exists now, or the statements are printed; 2 something cannot be read or created.

    Examples:

    - `orderflow init --partitions 12`
    - `orderflow init --dry-run > orderflow.sql`: if you may not create tables yourself
    - `orderflow init --grants > grants.sql`: once the tables exist, for an administrator (docs/security.md)
    """
    from orderflow import topic
    from orderflow.store import schema
    from orderflow.store.grants import grants as grant_statements

    settings = context.load()
    if grants or dry_run:
        output.use_utf8()
    if grants:
        print("-- MySQL: replace each change-me with a password.", *grant_statements(settings), sep="\n")
        print("-- Kafka, for a shell:", *(f"-- {command}" for command in _kafka_acls(settings)), sep="\n")
        return
    if dry_run:
        steps = schema.missing_steps(settings)
        for step in steps:
            print(f"-- {step.description}\n{schema.statement_of(step, settings)}\n")
        if _find_topic(settings, has_ledger="create_ledger" not in {step.statement for step in steps}):
            topic.check_cleanup_policy(settings)
        else:
            print(f"-- topic {settings.kafka_topic} is missing: `orderflow init` creates it")
        return
    created = [step.description for step in schema.prepare(settings)]
    topic_info = _find_topic(settings, has_ledger=True)
    if topic_info is None:
        topic_info = topic.create(settings, partitions or topic.DEFAULT_PARTITIONS)
        created.append(f"topic {topic_info.name}")
    if partitions and len(topic_info.partitions) < partitions:
        created.append(f"{counted(partitions - len(topic_info.partitions), 'partition')} of topic {topic_info.name}")
        topic_info = topic.add_partitions(settings, partitions)
    for object_name in created:
        print(f"Created {object_name}.")
    topic.check_cleanup_policy(settings)
    print(
        f"Ready: topic {topic_info.name} with {counted(len(topic_info.partitions), 'partition')}"
        f" at {settings.kafka_bootstrap_servers},"
        f" table {settings.mysql_database}.{settings.mysql_table} at {settings.database_address}."
    )


def _find_topic(settings: Settings, *, has_ledger: bool) -> TopicInfo | None:
    """Return the topic; None if it is missing and may be created.

    Raises TopicMissing or TopicRecreated if the ledger has positions in a topic of this name that was deleted.
    """
    from orderflow import topic
    from orderflow.positions import start_checks
    from orderflow.store import ledger
    from orderflow.store.connection import Connection

    with Connection(settings) if has_ledger else nullcontext() as connection:
        try:
            topic_info = topic.describe(settings)
        except TopicMissing as missing:
            if connection:
                start_checks.check_not_deleted(settings, connection, missing)
            return None
        if connection:
            # This checks the topic's id.
            ledger.read_positions(connection, topic_info.name, topic_info.topic_id, topic_info.partitions)
        return topic_info


def _kafka_acls(settings: Settings) -> Iterator[str]:
    """Yield the kafka-acls commands that give each role what it needs."""
    from orderflow.produce import numbering
    from orderflow.topic import GROUP

    topic = ["--topic", settings.kafka_topic]
    for role, operations, resource in (
        ("producer", ("Read", "Write"), topic),
        ("producer", ("Read",), ["--group", numbering.GROUP]),
        *((role, ("Read", "DescribeConfigs"), topic) for role in ("sink", "reader")),
        *((role, ("Describe",), ["--group", GROUP]) for role in ("producer", "sink", "reader")),
    ):
        allowed = [argument for operation in operations for argument in ("--operation", operation)]
        server = ["--bootstrap-server", settings.kafka_bootstrap_servers, "--command-config", "admin.properties"]
        principal = ["--add", "--allow-principal", f"User:orderflow_{role}"]
        yield shlex.join(["kafka-acls.sh", *server, *principal, *allowed, *resource])
