"""`orderflow up`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from orderflow import settings as settings_module
from orderflow.cli import logs
from orderflow.cli.sink import EngineChoice, EngineName
from orderflow.cli.up import proof
from orderflow.cli.up.live_view import show_until_stopped
from orderflow.cli.up.session import Session

log = logging.getLogger(__name__)


def up(
    *,
    orders: Annotated[
        int | None,
        typer.Option(min=1, help="Send this many orders as fast as possible, store and audit them, then stop."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Orders per second; 0: no limit. Default: one every PRODUCTION_INTERVAL seconds."),
    ] = None,
    producer: Annotated[
        bool, typer.Option("--producer/--no-producer", help="Generate orders, or leave that to your own producers.")
    ] = True,
    engine: EngineChoice = EngineName.SPARK,
    brokers: Annotated[
        int, typer.Option(min=1, max=9, help="Kafka brokers. With three, each record has three replicas.")
    ] = 1,
    workers: Annotated[
        int, typer.Option(min=0, max=9, help="Workers of a Spark cluster for the sink; 0: no cluster.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="With --orders: print the result as JSON.")] = False,
    log_format: logs.Format = None,
) -> None:
    """Start everything: Kafka, the database, the sink, a producer and the dashboard, with a live status.

    OrderFlow starts Kafka unless KAFKA_BOOTSTRAP_SERVERS is set, and a database unless MYSQL_HOST is set. Data, logs
    and state are in ORDERFLOW_HOME (`.orderflow`), and the next start continues with them. The first Ctrl-C stops in
    order: the producer sends its last messages, the sink finishes its batch, the servers stop.

    While it runs, use `orderflow status`, `orderflow audit`, `orderflow console` and `orderflow down` in another
    terminal.

    Required extras: `orderflow[local]`, unless Kafka and the database are your own; `orderflow[spark]`, unless
    `--engine direct` is given; `orderflow[dashboard]`, unless `--orders` is given, which starts no dashboard.

    Exit codes: 0 stopped as requested, or with --orders everything is stored and proven; 1 the audit found a
    difference; 2 something did not start, or stopped unexpectedly.

    Examples:

    - `orderflow up`
    - `orderflow up --rate 500`
    - `orderflow up --orders 100000`
    - `orderflow up --no-producer`: for the orders of your own producers
    - `orderflow up --engine direct`: without Spark
    - `ORDERFLOW_HOME=cluster orderflow up --brokers 3 --workers 2`: a local cluster in a folder of its own
    """
    from orderflow.contract import loader
    from orderflow.embedded.home_lock import lock_home
    from orderflow.embedded.signals import interrupt_on_signals
    from orderflow.embedded.stack import Stack
    from orderflow.produce import contract_orders

    if workers and engine is not EngineName.SPARK:
        raise typer.BadParameter("--workers needs Spark: remove it, or --engine direct")
    if not producer and (orders or rate is not None):
        raise typer.BadParameter("--no-producer cannot be combined with --orders or --rate")
    _require_extras(engine, with_dashboard=not orders)
    logs.setup()
    interrupt_on_signals()  # `orderflow down` sends SIGTERM, a closed terminal SIGHUP
    settings = settings_module.load()
    if producer:
        contract_orders.check(loader.contract_of(settings))
    with lock_home(settings):
        stack = Stack(settings, brokers, workers)
        session = Session(stack, engine)
        try:
            if orders:
                _prove(session, orders, as_json)
            else:
                _run(session, producer, rate)
        finally:
            stack.kill()


def _prove(session: Session, orders: int, as_json: bool) -> None:
    """Send, store and audit this many orders. Raises typer.Exit if the audit finds a difference."""
    session.start()
    session.start_producer(["--count", str(orders)], long_running=False)
    report = proof.store_and_audit(session, orders)
    session.stop()
    proof.show(report, session, as_json)
    if not report.is_proven:
        raise typer.Exit(1)


def _run(session: Session, producer: bool, rate: float | None) -> None:
    """Run until Ctrl-C."""
    try:
        session.start()
        if producer:
            session.start_producer(["--rate", str(rate)] if rate is not None else [], long_running=True)
        session.stack.start_command("dashboard", [])
        log.info("Dashboard: %s", session.stack.settings.dashboard_address)
        show_until_stopped(session)
    except KeyboardInterrupt:
        session.stop()
        print(session.summary())


def _require_extras(engine: EngineName, *, with_dashboard: bool) -> None:
    """Raise one ExtraMissing for everything that is not installed, before anything is started."""
    from orderflow import extras

    needed: list[extras.Name] = []
    if not (settings_module.is_given("kafka_bootstrap_servers") and settings_module.is_given("mysql_host")):
        needed.append("local")
    if engine is EngineName.SPARK:
        needed.append("spark")
    if with_dashboard:
        needed.append("dashboard")
    extras.require(*needed)
