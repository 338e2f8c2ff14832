"""`orderflow sink`."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow.cli import context, log

if TYPE_CHECKING:
    from orderflow.pipeline.engine import Engine
    from orderflow.settings import Settings


class EngineName(StrEnum):
    """What carries the records."""

    SPARK = "spark"
    DIRECT = "direct"


def sink(
    engine: Annotated[
        EngineName,
        typer.Option(help="What carries the records: spark, or direct, this process itself, for one small machine."),
    ] = EngineName.SPARK,
    once: Annotated[bool, typer.Option("--once", help="Store what is in the topic now, then exit.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per look at the sink's state, on stdout.")
    ] = False,
) -> None:
    """Store every order of the topic in MySQL exactly once.

    Runs until Ctrl-C: the first finishes the running micro-batch, the second leaves at once; nothing is lost
    either way. While Kafka or MySQL is away it waits, says so, and goes on when they are back. Started a second
    time on the same table and topic, it stands by and takes over when the first one ends.

    Both engines give the same guarantees, and either may take over from the other at any moment: both stand on the
    ledger. Spark is the way to scale on a cluster; direct needs no Java and a tenth of the memory.

    What is missing (database, tables, topic) is made at start; `orderflow init --dry-run` shows it before.
    Kafka and MySQL are those of the KAFKA_… and MYSQL_… settings.

    Exit code: 0 stopped as asked, or everything stored with --once; 2 something only a person can mend.

    Examples: `orderflow sink`; from cron: `orderflow sink --once && orderflow audit`
    """
    from orderflow.pipeline.supervisor import Progress, Supervisor

    log.setup()

    def tell(progress: Progress) -> None:
        if as_json:
            print(json.dumps(progress._asdict()), flush=True)

    settings = context.load()
    Supervisor(settings, engine=_engine(engine, settings), once=once, tell=tell).run()


def _engine(name: EngineName, settings: Settings) -> Engine:
    if name is EngineName.DIRECT:
        from orderflow.pipeline.direct import DirectEngine

        return DirectEngine(settings)
    from orderflow.embedded import jars, java
    from orderflow.pipeline.session import Runtime
    from orderflow.pipeline.spark import SparkEngine

    found, classpath = java.find(), jars.paths("spark")
    return SparkEngine(settings, Runtime(classpath, found.home, found.options("spark", classpath)))
