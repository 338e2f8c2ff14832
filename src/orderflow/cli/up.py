"""`orderflow up`."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow import settings
from orderflow.cli import log
from orderflow.cli.sink import EngineChoice, EngineName
from orderflow.cli.text import number, safe
from orderflow.errors import DatabaseRefused, TopicMissing, Unavailable
from orderflow.plurals import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orderflow.audit import Report
    from orderflow.embedded.stack import Stack
    from orderflow.insights.status import Status

logger = logging.getLogger(__name__)

_POLL_INTERVAL = 0.5  # seconds between two checks
_STATUS_LINE_INTERVAL = 10.0  # seconds between two status lines without a terminal
_SETTLE_TIME = 10.0  # seconds before the topic's end is trusted: a restarted broker first reports an older one
_STALL_TIMEOUT = 180.0  # seconds without progress after which --orders gives up


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
    log_format: log.Format = None,
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
    log.setup()
    interrupt_on_signals()  # `orderflow down` sends SIGTERM, a closed terminal SIGHUP
    current = settings.load()
    if producer:
        contract_orders.check(loader.contract_of(current))
    with lock_home(current):
        parts = Stack(current, brokers, workers)
        session = _Session(parts, engine)
        try:
            if orders:
                session.start()
                session.start_producer(["--count", str(orders)], endless=False)
                _store_all(session, orders)
                while (report := _audited(session)).not_yet_stored:  # a restarted broker had reported an older end
                    _store_all(session, orders)
                _stop_in_order(session)
                _show_proof(report, session, as_json)
                if not report.proven:
                    raise typer.Exit(1)
            else:
                try:
                    session.start()
                    if producer:
                        session.start_producer(["--rate", str(rate)] if rate is not None else [], endless=True)
                    parts.start_command("dashboard", [])
                    logger.info("Dashboard: %s", parts.settings.dashboard_address)
                    _show_until_stopped(session)
                except KeyboardInterrupt:
                    _stop_in_order(session)
                    print(session.summary())
        finally:
            parts.kill()


def _require_extras(engine: EngineName, *, with_dashboard: bool) -> None:
    """Raise one ExtraMissing for everything that is not installed, before anything is started."""
    from orderflow import extras

    needed: list[extras.Name] = []
    if not (settings.is_given("kafka_bootstrap_servers") and settings.is_given("mysql_host")):
        needed.append("local")
    if engine is EngineName.SPARK:
        needed.append("spark")
    if with_dashboard:
        needed.append("dashboard")
    extras.require(*needed)


class _Session:
    """Starts the parts and reads their state."""

    def __init__(self, parts: Stack, engine: EngineName) -> None:
        self.parts, self._engine = parts, engine
        self.status: Status | None = None  # None while tables or servers do not answer
        self.last_status: Status | None = None  # the last one that was not None
        self._sent_before = 0

    def start(self) -> None:
        """Start servers and sink at the same time: the sink itself waits until Kafka and the database answer."""
        parts = self.parts
        parts.start_servers()
        sink = ["--engine", self._engine, *(["--master", parts.master.url] if parts.master else [])]
        # A cluster answers before all its members have joined.
        has_cluster = len(parts.brokers) > 1 or parts.master is not None
        if not has_cluster:
            parts.start_command("sink", sink)
        for server in parts.wait_ready():
            logger.info("%s: %s at %s", server.name, server.describe(), server.address)
        if has_cluster:
            parts.start_command("sink", sink)
        self._sent_before = self._sent()

    def start_producer(self, arguments: list[str], *, endless: bool) -> None:
        """Start the producer. It is restarted after its end if it is endless."""
        self.parts.start_command("produce", arguments, endless=endless)

    @property
    def sent(self) -> int:
        """Records that arrived in the topic since the start."""
        return sum(part.end or 0 for part in self.last_status.partitions) - self._sent_before if self.last_status else 0

    def poll(self) -> None:
        """Read the state of tables and topic."""
        from orderflow.insights import status
        from orderflow.store.connection import Connection

        try:
            with Connection(self.parts.settings) as connection:
                self.status = self.last_status = status.read(connection, self.parts.settings)
        except (Unavailable, DatabaseRefused):  # not up yet, or restarting; the sink logs it
            self.status = None

    def summary(self) -> str:
        """One line of numbers."""
        found = self.last_status
        if found is None:
            return "Nothing was stored yet."
        return (
            f"{self.sent:,} sent; in total {found.stored:,} stored,"
            f" {counted(found.duplicates, 'duplicate')}, {found.quarantined:,} quarantined, lag {number(found.lag)}."
        )

    def newest(self) -> str:
        """The newest order and its age."""
        return (self.last_status and self.last_status.describe_newest()) or "none yet"

    def rows(self) -> list[tuple[str, str, str]]:
        """Return each part, its address, and its description or last message."""
        parts, current = self.parts, self.parts.settings
        external = [
            *(
                []
                if parts.brokers
                else [("Kafka", current.kafka_bootstrap_servers, "your own (KAFKA_BOOTSTRAP_SERVERS)")]
            ),
            *([] if parts.database else [("Database", current.database_address, "your own (MYSQL_HOST)")]),
        ]
        return [
            *external,
            *((server.name, server.address, server.describe()) for server in parts.servers),
            *(
                (
                    name.capitalize(),
                    current.dashboard_address if name == "dashboard" else f"logs/{name}.log",
                    _last_message(process.last_lines(1)) if name != "dashboard" else "web page",
                )
                for name, process in parts.commands.items()
            ),
        ]

    def _sent(self) -> int:
        from orderflow import topic

        try:
            topic.describe(self.parts.settings)
        except TopicMissing:
            return 0
        info = topic.wait_for_leaders(self.parts.settings)
        return sum(bounds.end for bounds in topic.bounds(self.parts.settings, info.partitions).values())


def _show_until_stopped(session: _Session) -> None:
    from rich.live import Live

    console = log.console()
    logged_at = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            session.parts.restart_stopped()
            session.poll()
            if console.is_terminal:
                live.update(_panel(session), refresh=True)
            elif time.monotonic() - logged_at > _STATUS_LINE_INTERVAL:
                logged_at = time.monotonic()
                logger.info("%s Newest: %s.", session.summary(), session.newest())
            time.sleep(_POLL_INTERVAL)


def _panel(session: _Session) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="OrderFlow: Ctrl-C stops", title_justify="left", box=None, padding=(0, 2, 0, 0), expand=True)
    table.add_column("part", min_width=14, no_wrap=True)
    table.add_column("where", min_width=30, no_wrap=True)
    table.add_column("what", ratio=1, no_wrap=True, overflow="ellipsis")
    for row in session.rows():
        table.add_row(*map(Text, row))  # not str, in which rich reads brackets as styles
    found = session.status
    numbers = {"sent": session.sent} | (
        {"stored": found.stored, "duplicates": found.duplicates, "quarantined": found.quarantined, "lag": found.lag}
        if found
        else {}
    )
    table.add_row("", "", "")
    for name, value in numbers.items():
        table.add_row(name, "" if value is None else f"{value:,}", "")
    table.add_row("newest", Text(session.newest()), "")
    return table


def _store_all(session: _Session, orders: int) -> None:
    """Wait until the producer has sent all orders and none waits in the topic.

    Raises StartFailed if the producer was stopped too early, or nothing is stored any more.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = log.console()
    producer = session.parts.commands["produce"]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    progressed_at, last_total = time.monotonic(), -1
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("stored", total=None)
        while True:
            finished = producer.exit_code == 0  # read first: what it sent is in the topic at the next check
            session.parts.restart_stopped()
            session.poll()
            if (found := session.status) and found.lag is not None:
                accounted = found.stored + found.duplicates + found.quarantined
                progress.update(task, completed=accounted, total=accounted + found.lag)
                if finished and found.lag == 0 and session.sent >= orders:
                    return
                if accounted + session.sent != last_total:
                    progressed_at, last_total = time.monotonic(), accounted + session.sent
            if finished and session.sent < orders and time.monotonic() - progressed_at > _SETTLE_TIME:
                raise producer.failure(
                    f"orderflow produce was stopped after {session.sent:,} of {counted(orders, 'order')}."
                )
            if time.monotonic() - progressed_at > _STALL_TIMEOUT:
                sink = session.parts.commands["sink"]
                raise sink.failure(f"Nothing was stored for {_STALL_TIMEOUT:g} s; {session.summary()}")
            time.sleep(_POLL_INTERVAL / 5)


def _audited(session: _Session) -> Report:
    """Run the audit. If a server does not answer, wait for it."""
    from orderflow import audit

    deadline = time.monotonic() + _STALL_TIMEOUT
    while True:
        try:
            return audit.run(session.parts.settings)
        except Unavailable as unavailable:
            if time.monotonic() > deadline:
                raise
            logger.warning("%s The audit restarts.", unavailable.message)
        session.parts.restart_stopped()
        time.sleep(_POLL_INTERVAL)


def _show_proof(report: Report, session: _Session, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                {
                    "sent": session.sent,
                    "newest": session.last_status and session.last_status.newest_order,
                    **report.summary(),
                }
            )
        )
    else:
        print(session.summary())
        print(report.sentence())


def _stop_in_order(session: _Session) -> None:
    parts = session.parts
    last_messages = "the producer sends its last messages, " if "produce" in parts.commands else ""
    logger.info("Stopping: %sthe sink finishes its batch. Ctrl-C again exits at once.", last_messages)
    parts.stop_command("produce")
    parts.stop_command("sink")
    parts.stop_command("dashboard")
    session.poll()
    parts.stop_servers()


def _last_message(lines: list[str]) -> str:
    return safe(lines[-1]) if lines else "starting"
