"""The checks of `orderflow doctor`: this machine, Kafka, the database, the tables. No check changes anything."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import mysql.connector
from confluent_kafka.admin import AdminClient

from orderflow import extras, settings, start_checks, topic
from orderflow.errors import OrderFlowError, SchemaTooNew, TableDrifted, TopicMissing
from orderflow.jvm import jars, java
from orderflow.plurals import counted
from orderflow.settings import Settings
from orderflow.store import error_numbers, ledger, schema, server
from orderflow.store.connection import Connection
from orderflow.store.schema_steps import Step
from orderflow.store.server import Server
from orderflow.store.tables import TABLES
from orderflow.topic import TopicInfo

Status = Literal["ok", "warning", "error", "skipped"]

_MAX_CLOCK_DIFFERENCE = 5.0  # seconds
_LOW_SPACE, _NO_SPACE = 2 * 10**9, 2 * 10**8  # bytes
_CREATE_TABLE = {table.create for table in TABLES if table.kind == "table"}
_SMALL_PACKET = 4 * 2**20  # bytes: an INSERT of 1,000 orders with the longest texts has 2 MB


class Check(NamedTuple):
    """One line of the report."""

    name: str
    status: Status
    found: str
    hint: str = ""


def checks(settings: Settings) -> Iterator[Check]:
    """Run every check, in order. A check is skipped if one that it needs failed."""
    examination = _Checks(settings)
    done: dict[str, Check] = {}
    for name, needs, run_check in examination.checks():
        failed = [need for need in needs if done[need].status != "ok"]
        if failed:
            done[name] = Check(name, "skipped", f"needs {' and '.join(failed)}")
        else:
            try:
                done[name] = Check(name, *run_check())
            except OrderFlowError as error:
                done[name] = Check(name, "error", error.message, error.hint or _hint(name, error))
        yield done[name]


_HINTS = {
    "Kafka": "Start it, or set KAFKA_BOOTSTRAP_SERVERS. If that is not set, `orderflow up` starts its own.",
    "database": "Start it, or set MYSQL_HOST and MYSQL_PORT. If MYSQL_HOST is not set, `orderflow up` starts its own.",
}


def _hint(name: str, error: OrderFlowError) -> str:
    cause = error.__cause__
    if isinstance(cause, mysql.connector.Error) and not error_numbers.is_client_error(cause.errno):
        return "The server answers, but cannot be used now: see its error log, and repeat this command."
    return _HINTS.get(name, "")


_Result = tuple[Status, str] | tuple[Status, str, str]


class _Checks:
    """The checks, and the data that they share. Each item of data is read once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def checks(self) -> list[tuple[str, tuple[str, ...], Callable[[], _Result]]]:
        """Return each check's name, the checks that it needs, and its function."""
        return [
            ("Python", (), self._python),
            ("settings", (), self._names),
            ("Spark", (), self._spark),
            ("dashboard", (), self._dashboard),
            ("Java", (), self._java),
            ("jars", ("Spark",), self._jars),
            ("MySQL client", (), self._client),
            ("disk", (), self._disk),
            ("Kafka", (), self._kafka),
            ("topic", ("Kafka",), self._topic),
            ("compaction", ("topic",), self._compaction),
            ("database", (), self._database),
            ("reader", ("database",), self._reader),
            ("version", ("database",), self._version),
            ("writing", ("database",), self._writing),
            ("binary log", ("database",), self._binary_log),
            ("packets", ("database",), self._packets),
            ("local_infile", ("database",), self._local_infile),
            ("sql_mode", ("database",), self._sql_mode),
            ("durability", ("database",), self._durability),
            ("clock", ("database",), self._clock),
            ("tables", ("database",), self._tables),
            ("privileges", ("database",), self._privileges),
            ("triggers", ("tables",), self._triggers),
            ("indexes", ("tables",), self._indexes),
            ("ledger", ("topic", "tables"), self._ledger),
        ]

    def _names(self) -> _Result:
        if similar := settings.misspelled():
            unknown = ", ".join(similar)
            return "warning", f".env sets unknown names: {unknown}", f"Did you mean {', '.join(similar.values())}?"
        return "ok", "no name in .env looks like a misspelled setting"

    @cached_property
    def _server(self) -> Server:
        return server.read(self._settings)

    @cached_property
    def _variables(self) -> dict[str, str]:
        return server.variables(self._settings)

    @cached_property
    def _info(self) -> TopicInfo:
        return topic.describe(self._settings)

    @cached_property
    def _missing(self) -> list[Step]:
        return schema.missing(self._settings)

    def _python(self) -> _Result:
        return "ok", platform.python_version()

    def _spark(self) -> _Result:
        if extras.is_installed("spark"):
            from orderflow.spark import session

            session.check_environment()
        return self._extra("spark", "the sink needs --engine direct")

    def _dashboard(self) -> _Result:
        return self._extra("dashboard", "no dashboard and no metrics endpoints; `orderflow top` works without it")

    def _extra(self, name: extras.Name, without: str) -> _Result:
        if extras.is_installed(name):
            return "ok", extras.versions()[name]
        return "skipped", f"not installed: {without}", extras.install_command(name)

    def _java(self) -> _Result:
        if not extras.is_installed("spark") and not extras.is_installed("local"):
            return "skipped", "only Spark and the Kafka that `orderflow up` starts need it"
        jdk = java.find()
        return "ok", f"{jdk.version} from {jdk.source}: {jdk.home}"

    def _jars(self) -> _Result:
        return "ok", f"Spark's Kafka connector, {counted(len(jars.spark_paths()), 'jar')}, verified against jars.lock"

    def _client(self) -> _Result:
        version = mysql.connector.__version__
        if not mysql.connector.HAVE_CEXT:
            return (
                "warning",
                f"mysql-connector {version} without its C extension, so it is slower",
                "Install the version that requirements.txt pins, on a platform that has a wheel of it on PyPI.",
            )
        return "ok", f"mysql-connector {version} with its C extension"

    def _disk(self) -> _Result:
        home = self._settings.home
        folders = [next(path for path in (home, *home.parents) if path.exists()), Path(tempfile.gettempdir())]
        free = {folder: shutil.disk_usage(folder).free for folder in folders}
        least = min(free.values())
        description = ", ".join(f"{free_bytes / 1e9:,.1f} GB free in {folder}" for folder, free_bytes in free.items())
        if least < _LOW_SPACE:
            return (
                "error" if least < _NO_SPACE else "warning",
                description,
                "Free some space, or set ORDERFLOW_HOME or TMPDIR to another disk.",
            )
        return "ok", description

    def _kafka(self) -> _Result:
        topic.check_connection(self._settings)
        admin = AdminClient(topic.client_config(self._settings))
        with topic.translate_errors(self._settings, admin):
            cluster = admin.describe_cluster(request_timeout=topic.TIMEOUT).result()
        count = len(cluster.nodes)
        brokers = f"{counted(count, 'broker')} at {self._settings.kafka_bootstrap_servers}"
        return "ok", f"{brokers}, over {self._settings.kafka_security_protocol}"

    def _topic(self) -> _Result:
        try:
            info = self._info
        except TopicMissing as missing:
            try:
                with Connection(self._settings) as connection:
                    start_checks.check_not_deleted(self._settings, connection, missing)
            except TopicMissing as deleted:
                return "error", deleted.message, deleted.hint
            except OrderFlowError:  # the checks of the database report it
                pass
            return "warning", missing.message, missing.hint
        return "ok", f"{info.name} with {counted(len(info.partitions), 'partition')}, id {info.topic_id}"

    def _compaction(self) -> _Result:
        if (policy := topic.check_cleanup_policy(self._settings)) is None:
            return (
                "warning",
                f"the user may not read cleanup.policy of {self._settings.kafka_topic}: with compaction, Kafka removes"
                " records that are not stored yet",
                "Grant DescribeConfigs, as `orderflow init --grants` prints, or check that cleanup.policy is delete.",
            )
        return "ok", f"none: cleanup.policy is {policy or 'empty'}"

    def _database(self) -> _Result:
        kind = "MariaDB" if self._server.is_mariadb else "MySQL"
        transport = server.encryption(self._settings)
        if transport and not self._settings.mysql_ssl_ca:
            transport += ", certificate not verified"
        user = f"user {self._settings.mysql_user} can log in over {transport or 'plain text'}"
        return "ok", f"{kind} at {self._settings.database_address}: {user}"

    def _reader(self) -> _Result:
        reader = self._settings.for_reading
        with Connection(reader, database=False):
            return "ok", f"user {reader.mysql_user} can log in, for dashboard, status, track, top and audit"

    def _version(self) -> _Result:
        version, is_mariadb = self._server.version, self._server.is_mariadb
        oldest = server.MIN_VERSIONS["mariadb" if is_mariadb else "mysql"]
        if self._server.release >= oldest:
            return "ok", version
        hint = f"Use {'MariaDB' if is_mariadb else 'MySQL'} {'.'.join(map(str, oldest))} or newer."
        if is_mariadb:
            return "warning", f"{version} is older than the supported versions", hint
        return "error", f"{version} has no invisible columns", hint

    def _writing(self) -> _Result:
        enabled = [
            name for name, value in self._variables.items() if name in server.READ_ONLY and value not in ("OFF", "0")
        ]
        if not enabled:
            return "ok", "the server accepts writes"
        # Some administrators can still write.
        status: Status = "warning" if enabled == ["read_only"] else "error"
        return (
            status,
            f"{', '.join(enabled)} is on: the sink waits until the server accepts writes",
            "If MYSQL_HOST is the primary: " + " ".join(f"SET GLOBAL {name} = OFF;" for name in enabled),
        )

    def _binary_log(self) -> _Result:
        if self._variables.get("log_bin") != "ON":
            return "ok", "off"
        binlog_format = self._variables.get("binlog_format", "ROW")
        if binlog_format == "STATEMENT":
            return (
                "error",
                "binlog_format is STATEMENT: the server refuses READ COMMITTED transactions",
                "SET GLOBAL binlog_format = ROW; and set it in the server's configuration.",
            )
        return "ok", f"on, with binlog_format {binlog_format}"

    def _packets(self) -> _Result:
        size = int(self._variables["max_allowed_packet"])
        if size < _SMALL_PACKET:
            return (
                "warning",
                f"max_allowed_packet is {size:,} bytes: the server may refuse statements with long texts",
                "SET GLOBAL max_allowed_packet = 67108864; and set it in the server's configuration.",
            )
        return "ok", f"max_allowed_packet is {size / 2**20:,.0f} MB"

    def _triggers(self) -> _Result:
        if triggers := server.triggers(self._settings):
            return (
                "warning",
                f"triggers: {', '.join(triggers)}. Orders that they refuse go to the quarantine; the audit reports"
                " values that they change",
                "Drop them if nobody needs them.",
            )
        return "ok", "none that this user can see"

    def _local_infile(self) -> _Result:
        if not self._server.local_infile:
            return (
                "warning",
                "off: the sink writes with INSERT, which is slower than LOAD DATA",
                "SET GLOBAL local_infile = ON; and set it in the server's configuration.",
            )
        return "ok", "on: the sink writes with LOAD DATA"

    def _sql_mode(self) -> _Result:
        return "ok", f"{self._server.sql_mode or 'empty'}; the sink sets its own strict mode in each session"

    def _durability(self) -> _Result:
        weak = []
        if self._server.flush_log_at_commit != 1:
            weak.append(("innodb_flush_log_at_trx_commit", self._server.flush_log_at_commit))
        if self._server.log_bin and self._server.sync_binlog != 1:
            weak.append(("sync_binlog", self._server.sync_binlog))
        if weak:
            return (
                "warning",
                f"{' and '.join(f'{name} is {value}' for name, value in weak)}: a server crash may lose the last"
                " commits; the sink then stores their orders again",
                " ".join(f"SET GLOBAL {name} = 1;" for name, _ in weak),
            )
        return "ok", "each commit is on disk before it is acknowledged"

    def _clock(self) -> _Result:
        before = datetime.now(UTC)
        server_now = server.read(self._settings).now.replace(tzinfo=UTC)
        after = datetime.now(UTC)
        # The server read its clock between the two times: only a time outside them is a clock error.
        seconds = max((before - server_now).total_seconds(), (server_now - after).total_seconds(), 0.0)
        if seconds > _MAX_CLOCK_DIFFERENCE:
            return (
                "warning",
                f"this machine and the database differ by {seconds:,.0f} s",
                "Synchronise both with NTP. The shown ages and latencies are wrong; stored orders are correct.",
            )
        return "ok", f"this machine and the database agree within {max(seconds, 0.1):.1f} s"

    def _tables(self) -> _Result:
        if steps := self._missing:
            return (
                "warning",
                f"missing: {', '.join(step.description for step in steps)}",
                "The sink creates them at start; `orderflow init --dry-run` shows the SQL.",
            )
        return (
            "ok",
            f"{self._settings.mysql_database}.{self._settings.mysql_table} and OrderFlow's other tables are correct",
        )

    def _privileges(self) -> _Result:
        try:
            statements = [step.statement for step in self._missing]
        except (TableDrifted, SchemaTooNew):
            return "skipped", "needs tables"
        if "create_database" in statements:
            return "skipped", "needs the database"
        tables = [name for name in statements if name in _CREATE_TABLE]
        if statements and not tables:
            return "skipped", "needs tables"
        if refused := list(server.refusals(self._settings, tables)):
            database, user = self._settings.mysql_database, self._settings.mysql_user
            return (
                "error",
                refused[0] + (f" Also refused: {counted(len(refused) - 1, 'statement')}." if refused[1:] else ""),
                f"GRANT SELECT, INSERT, UPDATE, CREATE, ALTER, CREATE VIEW, DROP ON `{database}`.* TO '{user}'@'…';",
            )
        return (
            "ok",
            f"user {self._settings.mysql_user} may {'create the tables' if tables else 'do what the sink needs'}",
        )

    def _indexes(self) -> _Result:
        if absent := server.missing_indexes(self._settings):
            return "warning", "the orders table lacks indexes: queries will be slow", " ".join(absent)
        return "ok", "customer_id and order_timestamp are indexed"

    def _ledger(self) -> _Result:
        info = self._info
        with Connection(self._settings) as connection:
            entries = ledger.entries(connection, info.name)
        if not entries:
            return "ok", f"no record of {info.name} is stored yet: the sink starts at the first one"
        ledger.check_topic_id(info.name, info.topic_id, entries[0].topic_id)
        bounds = topic.bounds(self._settings, info.partitions)
        for entry in entries:
            first, end = bounds.get(entry.partition, (0, 0))
            if not first <= entry.next_offset <= end:
                return (
                    "error",
                    f"{info.name} partition {entry.partition} begins at offset {first} and ends at {end}, but the"
                    f" ledger's next offset is {entry.next_offset}",
                    "If records were removed before they were stored, `orderflow accept-loss` shows them. Otherwise the"
                    " topic has lost its last records.",
                )
        lag = sum(bound.end for bound in bounds.values()) - sum(entry.next_offset for entry in entries)
        return "ok", f"its positions are within the topic; {counted(lag, 'offset')} not accounted for yet"
