"""`orderflow sink`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow.cli import context, logs
from orderflow.cli.text import to_json
from orderflow.start_signals import exiting_on_signals

if TYPE_CHECKING:
    from orderflow.pipeline.engine import Engine
    from orderflow.settings import Settings


class EngineName(StrEnum):
    """The engine that reads the records and stores them."""

    SPARK = "spark"
    DIRECT = "direct"


EngineChoice = Annotated[
    EngineName,
    typer.Option(help="spark, or direct: one Python process without Spark and Java, for one machine."),
]


def sink(
    *,
    engine: EngineChoice = EngineName.SPARK,
    master: Annotated[
        str | None,
        typer.Option(
            help="Spark's master: local[N] for N task slots on this machine (default: local[4]), or a cluster,"
            " spark://HOST:PORT. yarn and k8s://… are passed to Spark and are not tested."
        ),
    ] = None,
    ship: Annotated[
        bool,
        typer.Option("--ship", help="With --master: send OrderFlow and its packages to the cluster's workers."),
    ] = False,
    trigger: Annotated[
        str | None,
        typer.Option(help="micro-batch, an interval, realtime or auto, see above. Default: SINK_TRIGGER."),
    ] = None,
    ui: Annotated[bool, typer.Option("--ui", help="Serve Spark's web UI on loopback.")] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Store the records that are in the topic now, then exit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each progress report.")] = False,
    log_format: logs.Format = None,
) -> None:
    """Store every order of the topic in MySQL exactly once.

    Runs until Ctrl-C. The first Ctrl-C stops cleanly: the sink waits up to 30 seconds for running transactions, then
    for Spark. After 55 seconds, or a second Ctrl-C, it exits at once. Neither loses records. While Kafka or MySQL is
    unavailable, the sink waits and reports what it waits for. A second sink on the same table and topic is a standby,
    and takes over when the first one ends.

    With Spark, `--trigger` (or SINK_TRIGGER) sets when records are stored. The guarantees are the same with each value:

    - `micro-batch` (default): each micro-batch starts when the one before has ended. The highest rate.
    - `"2 seconds"`: one micro-batch per interval. Records are stored up to 2 seconds later, in fewer and larger
      transactions.
    - `realtime`: Spark's Real-Time Mode stores each record when it arrives. The lowest latency with Spark, but too slow
      for a backlog. Needs Spark 4.1 or newer, and one task slot more than the topic has partitions.
    - `auto`: realtime, and micro-batches while many records wait.

    Spark scales on a cluster. `--engine direct` needs no Java and less memory. Both engines give the same guarantees
    and use the same tables, so either can continue where the other one stopped.

    The sink creates a missing database and missing tables at its start; `orderflow init --dry-run` prints the SQL. It
    creates a missing topic only if the brokers have auto.create.topics.enable. The servers are those of the KAFKA_… and
    MYSQL_… settings, or of the `orderflow up` that runs in ORDERFLOW_HOME.

    On a cluster, each worker needs the same virtual environment at the same path, or `--ship` sends it
    (docs/scaling.md).

    Exit codes: 0 stopped as requested, or with --once everything is stored; 2 an error that somebody must fix; 130
    (Ctrl-C) or 143 (SIGTERM) ended at once, by a second signal, by the limit for a stop, or by a signal while the
    program is still loading.

    Examples:

    - `orderflow sink`
    - `orderflow sink --trigger "2 seconds" --ui`
    - `orderflow sink --once && orderflow audit`: for cron
    - `orderflow sink --master spark://spark-1:7077 --ship`: on a cluster
    """
    with exiting_on_signals():  # until the supervisor stops cleanly on signals
        from orderflow import extras
        from orderflow.metrics.endpoint import serving
        from orderflow.metrics.sink import SinkMetrics
        from orderflow.pipeline.engine_watch import SinkProgress
        from orderflow.pipeline.supervisor import Supervisor
        from orderflow.settings import parse_trigger

        if (master or ship or trigger or ui) and engine is not EngineName.SPARK:
            raise typer.BadParameter("--master, --ship, --trigger and --ui need Spark: remove them, or --engine direct")
        if ship and (master is None or master.startswith("local")):
            raise typer.BadParameter("--ship sends packages to a cluster: name it with --master, or remove --ship")
        if engine is EngineName.SPARK:
            _require_spark()
        options: dict[str, str] = {}
        if trigger:
            try:
                options["SINK_TRIGGER"] = parse_trigger(trigger)
            except ValueError as error:
                raise typer.BadParameter(f"--trigger is {trigger!a}: {error}.") from error
        logs.setup()
        settings = context.load(options)
        if settings.sink_metrics_port:
            extras.require("dashboard", instead="set SINK_METRICS_PORT to 0")
        metrics = SinkMetrics()

        def on_progress(progress: SinkProgress) -> None:
            metrics.update(**progress._asdict())
            if as_json:
                print(to_json(progress._asdict()), flush=True)

        chosen_engine = _engine(engine, settings, master, ship, ui)
        with serving(settings, "sink_metrics_port", metrics):
            Supervisor(
                settings,
                engine=chosen_engine,
                once=once,
                on_progress=on_progress,
                receive_metrics=metrics.receive_metrics,
            ).run()


def _require_spark() -> None:
    from orderflow import extras
    from orderflow.spark import session

    if not session.is_submitted():  # spark-submit brings its own pyspark and jars
        extras.require("spark", instead="use --engine direct, which needs no Spark")


def _engine(name: EngineName, settings: Settings, master: str | None, ship: bool, ui: bool) -> Engine:
    if name is EngineName.DIRECT:
        from orderflow.pipeline.direct import DirectEngine

        return DirectEngine(settings)
    from orderflow.jvm import cache
    from orderflow.pipeline import packing
    from orderflow.pipeline.spark_driver import SparkDriver
    from orderflow.pipeline.spark_engine import SparkEngine
    from orderflow.spark import session

    packages = packing.pack(cache.get_or_create) if ship else None
    return SparkEngine(settings, SparkDriver(session.runtime(master, packages=packages, ui=ui)))
