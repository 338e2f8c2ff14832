"""`orderflow sink`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orderflow.cli import context, log


def sink(
    once: Annotated[bool, typer.Option("--once", help="Store what is in the topic now, then exit.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per look at the sink's state, on stdout.")
    ] = False,
) -> None:
    """Store every order of the topic in MySQL exactly once.

    Runs until Ctrl-C: the first finishes the running micro-batch, the second leaves at once; nothing is lost
    either way. While Kafka or MySQL is away it waits, says so, and goes on when they are back. Started a second
    time on the same table and topic, it stands by and takes over when the first one ends.

    What is missing (database, tables, topic) is made at start; `orderflow init --dry-run` shows it before.
    Kafka and MySQL are those of the KAFKA_… and MYSQL_… settings.

    Exit code: 0 stopped as asked, or everything stored with --once; 2 something only a person can mend.

    Examples: `orderflow sink`; from cron: `orderflow sink --once && orderflow audit`
    """
    from orderflow.embedded import jars, java
    from orderflow.pipeline.spark import Engine
    from orderflow.pipeline.supervisor import Progress, Supervisor

    log.setup()

    def tell(progress: Progress) -> None:
        if as_json:
            print(json.dumps(progress._asdict()), flush=True)

    found, classpath = java.find(), jars.paths("spark")
    engine = Engine(classpath, found.home, found.options("spark", classpath))
    Supervisor(context.load(), engine=engine, once=once, tell=tell).run()
