"""`orderflow sink`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from orderflow.cli import context, log

if TYPE_CHECKING:
    from orderflow.pipeline.engine import Engine
    from orderflow.settings import Settings


class EngineName(StrEnum):
    """What carries the records."""

    SPARK = "spark"
    DIRECT = "direct"


EngineChoice = Annotated[
    EngineName,
    typer.Option(help="What carries the records: spark, or direct, the sink's process itself, for one small machine."),
]


def sink(
    *,
    engine: EngineChoice = EngineName.SPARK,
    master: Annotated[
        str | None,
        typer.Option(help="A Spark cluster to run on: spark://HOST:PORT, yarn or k8s://…."),
    ] = None,
    ship: Annotated[
        bool, typer.Option("--ship", help="With --master: bring OrderFlow's Python packages to the cluster's workers.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Store what is in the topic now, then exit.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per look at the sink's state, on stdout.")
    ] = False,
    log_format: log.Format = None,
) -> None:
    """Store every order of the topic in MySQL exactly once.

    Runs until Ctrl-C: the first finishes the running transactions, the second leaves at once; nothing is lost
    either way. While Kafka or MySQL is away it waits, says so, and goes on when they are back. Started a second
    time on the same table and topic, it stands by and takes over when the first one ends.

    Both engines give the same guarantees, and either may take over from the other at any moment: both stand on the
    ledger. Spark is the way to scale on a cluster; direct needs no Java and a quarter of the memory.

    What is missing (database, tables, topic) is made at start; `orderflow init --dry-run` shows it before.
    Kafka and MySQL are those of the KAFKA_… and MYSQL_… settings.

    On a cluster, workers find OrderFlow in the same virtual environment at the same path, or get it by --ship;
    docs/scaling.md shows both.

    Exit code: 0 stopped as asked, or everything stored with --once; 2 something only a person can mend.

    Examples: `orderflow sink`; from cron: `orderflow sink --once && orderflow audit`; on a cluster:
    `orderflow sink --master spark://spark-1:7077 --ship`
    """
    from orderflow.metrics.server import serving
    from orderflow.metrics.sink import SinkMetrics
    from orderflow.pipeline.supervisor import Progress, Supervisor

    if (master or ship) and engine is not EngineName.SPARK:
        raise typer.BadParameter("--master and --ship are Spark's")
    log.setup()
    settings = context.load()
    metrics = SinkMetrics()

    def tell(progress: Progress) -> None:
        metrics.show(*progress)
        if as_json:
            print(msgspec.json.encode(progress._asdict()).decode(), flush=True)

    carrier = _engine(engine, settings, master, ship)
    with serving(settings, "sink_metrics_port", metrics):
        Supervisor(settings, engine=carrier, once=once, tell=tell, listen=metrics.listen).run()


def _engine(name: EngineName, settings: Settings, master: str | None, ship: bool) -> Engine:
    if name is EngineName.DIRECT:
        from orderflow.pipeline.direct import DirectEngine

        return DirectEngine(settings)
    from orderflow.embedded import cache, java
    from orderflow.pipeline import packing
    from orderflow.pipeline.session import MASTER, Runtime
    from orderflow.pipeline.spark import SparkEngine

    found = java.find()
    packages = packing.pack(cache.once) if ship else None
    return SparkEngine(settings, Runtime(found.home, found.options(*java.of_spark()), master or MASTER, packages))
