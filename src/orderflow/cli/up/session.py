"""One `orderflow up`: starts the servers and commands, reads what they have done, and stops them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from orderflow.cli.sink import EngineName
from orderflow.cli.text import number, safe
from orderflow.errors import DatabaseRefused, TopicMissing, Unavailable
from orderflow.plurals import counted

if TYPE_CHECKING:
    from orderflow.embedded.stack import Stack
    from orderflow.insights.status import Status

log = logging.getLogger(__name__)


class Session:
    """The servers and commands of one `orderflow up`, and what they have done."""

    def __init__(self, stack: Stack, engine: EngineName) -> None:
        self.stack, self._engine = stack, engine
        self.status: Status | None = None  # None while tables or servers do not answer
        self.last_status: Status | None = None  # the last one that was not None
        self._end_before = 0  # the topic's end at the start

    def start(self) -> None:
        """Start servers and sink at the same time: the sink itself waits until Kafka and the database answer."""
        stack = self.stack
        stack.start_servers()
        arguments = ["--engine", self._engine, *(["--master", stack.master.url] if stack.master else [])]
        # A cluster answers before all its members have joined.
        has_cluster = len(stack.brokers) > 1 or stack.master is not None
        if not has_cluster:
            stack.start_command("sink", arguments)
        for server in stack.wait_ready():
            log.info("%s: %s at %s", server.name, server.describe(), server.address)
        if has_cluster:
            stack.start_command("sink", arguments)
        self._end_before = self._topic_end()

    def start_producer(self, arguments: list[str], *, long_running: bool) -> None:
        """Start the producer. If it is long-running, it is restarted after its end."""
        self.stack.start_command("produce", arguments, long_running=long_running)

    @property
    def sent(self) -> int:
        """Records that arrived in the topic since the start."""
        if self.last_status is None:
            return 0
        return sum(partition_status.end or 0 for partition_status in self.last_status.partitions) - self._end_before

    def poll(self) -> None:
        """Read the state of tables and topic."""
        from orderflow.insights import status
        from orderflow.store.connection import Connection

        try:
            with Connection(self.stack.settings) as connection:
                self.status = self.last_status = status.read(connection, self.stack.settings)
        except (Unavailable, DatabaseRefused):  # not up yet, or restarting; the sink logs it
            self.status = None

    def summary(self) -> str:
        """One line of numbers."""
        status = self.last_status
        if status is None:
            return "Nothing was stored yet."
        return (
            f"{self.sent:,} sent; in total {status.stored:,} stored,"
            f" {counted(status.duplicates, 'duplicate')}, {status.quarantined:,} quarantined, lag {number(status.lag)}."
        )

    def newest(self) -> str:
        """The newest order and its age."""
        return (self.last_status and self.last_status.describe_newest()) or "none yet"

    def rows(self) -> list[tuple[str, str, str]]:
        """Return each component, its address, and its description or last message."""
        stack, settings = self.stack, self.stack.settings
        rows = []
        if not stack.brokers:
            rows.append(("Kafka", settings.kafka_bootstrap_servers, "your own (KAFKA_BOOTSTRAP_SERVERS)"))
        if not stack.database:
            rows.append(("Database", settings.database_address, "your own (MYSQL_HOST)"))
        rows += [(server.name, server.address, server.describe()) for server in stack.servers]
        for name, process in stack.commands.items():
            if name == "dashboard":
                rows.append(("Dashboard", settings.dashboard_address, "web page"))
            else:
                rows.append((name.capitalize(), f"logs/{name}.log", _last_message(process.last_lines(1))))
        return rows

    def stop(self) -> None:
        """Stop everything in order."""
        stack = self.stack
        last_messages = "the producer sends its last messages, " if "produce" in stack.commands else ""
        log.info("Stopping: %sthe sink finishes its batch. Ctrl-C again exits at once.", last_messages)
        for name in ("produce", "sink", "dashboard"):
            stack.stop_command(name)
        self.poll()
        stack.stop_servers()

    def _topic_end(self) -> int:
        """The sum of the partitions' end offsets."""
        from orderflow import topic

        try:
            topic.describe(self.stack.settings)
        except TopicMissing:
            return 0
        topic_info = topic.wait_for_leaders(self.stack.settings)
        return sum(bounds.end for bounds in topic.bounds(self.stack.settings, topic_info.partitions).values())


def _last_message(lines: list[str]) -> str:
    return safe(lines[-1]) if lines else "starting"
