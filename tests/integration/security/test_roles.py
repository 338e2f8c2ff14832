"""The roles of `orderflow init --grants`: each right is needed, and each role works over TLS and shows no secret."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from string import Formatter
from typing import NamedTuple

import mysql.connector
import psutil
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AclBinding, AclOperation
from msgspec.structs import replace
from rich.progress import Progress

from orderflow import topic
from orderflow.cli.doctor.checks import checks
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import Process
from orderflow.errors import DatabaseRefused, KafkaRefused
from orderflow.produce import numbering
from orderflow.produce.delivery import OrderProducer, StopRequest
from orderflow.settings import Settings
from orderflow.store import ledger, schema, statements
from orderflow.store.connection import Connection
from tests.support.certificates import Certificate
from tests.support.packets import capture
from tests.support.processes import run, running, until
from tests.support.prometheus import get
from tests.support.secured import (
    KEY_PASSWORD,
    MARK,
    PASSWORDS,
    Authorities,
    SecuredDatabase,
    SecuredKafka,
    database_settings,
    execute_with_tls,
    joined,
    kafka_settings,
    parse_acls,
    with_client_certificate,
)

ACCESS_DENIED = {1044, 1045, 1142, 1143, 1227, 1370}  # to a database, a table, a column, an administrator's command


class Granted(NamedTuple):
    """Roles with the rights that `orderflow init --grants` prints, and an administrator."""

    administrator: Settings
    producer: Settings
    sink: Settings
    reader: Settings
    statements: list[str]
    acls: list[AclBinding]


@pytest.fixture(scope="module")
def granted(
    broker: SecuredKafka, mysql_tls: SecuredDatabase, authorities: Authorities, client: Certificate, folder: Path
) -> Granted:
    database = replace(database_settings(mysql_tls, authorities.trusted), mysql_database="shop", kafka_topic="granted")
    administrator = replace(database, kafka_bootstrap_servers=broker.address)
    assert run(administrator, "init", cwd=folder).returncode == 0
    printed = run(administrator, "init", "--grants", cwd=folder).stdout.splitlines()
    granting = [line.removesuffix(";") for line in printed if not line.startswith("--")]
    for line in granting:
        [user] = [user for user in PASSWORDS if user in line]
        password = PASSWORDS[user].replace("\\", "\\\\").replace("'", "''")
        execute_with_tls(administrator, line.replace("change-me", password))
    acls = [acl for line in printed if line.startswith("-- kafka-acls") for acl in parse_acls(line.removeprefix("-- "))]
    broker.create_acls(acls)

    def role(name: str, listener: str = "SASL_SSL") -> Settings:
        file = folder / f"{name}.password"
        file.write_text(PASSWORDS[f"orderflow_{name}"] + "\n")
        return replace(
            joined(kafka_settings(broker, authorities.trusted, listener, name), database),
            kafka_topic="granted",
            kafka_password_file=str(file),
            mysql_user=f"orderflow_{name}",
            mysql_password=PASSWORDS[f"orderflow_{name}"],
            mysql_password_file=str(file),
        )

    key_password = folder / "key.password"
    key_password.write_text(KEY_PASSWORD)
    sink = replace(with_client_certificate(role("sink", "BOTH"), client), kafka_ssl_key_password_file=str(key_password))
    return Granted(administrator, role("producer"), sink, role("reader"), granting, acls)


_FILLED_BY_CALLERS = {"rows", "ids", "values", "partitions", "tables", "categories", "columns", "view", "definition"}


def _with_null(text: str) -> str:
    """Return the statement with NULL for every value, for a server to prepare."""
    return re.sub(r"%(\(\w+\))?s", "NULL", text)


def _refused_statements(settings: Settings) -> set[str]:
    """Return the store's statements that this user may not run, and the tables that it cannot see."""
    anything: defaultdict[str, str] = defaultdict(
        lambda: "NULL", rows="(NULL)", tables="NULL", view="dual", definition="SELECT 1"
    )
    try:
        refused = {step.description for step in schema.missing_steps(settings)}
    except DatabaseRefused as error:  # the user may not read the versions of the contract
        return {error.message}
    with Connection(settings) as connection, connection._raw.cursor() as cursor:
        for name, file in statements.files().items():
            text = statements.without_comment(file.read_text("utf-8"))
            by_administrator = name == "insert_contract" or name.startswith(("adopt_", "insert_schema", "need_"))
            if by_administrator or not text.startswith(("SELECT", "INSERT", "UPDATE")):
                continue
            filled = {field for _, field, _, _ in Formatter().parse(text) if field}
            known = {field: anything[field] for field in filled & _FILLED_BY_CALLERS}
            try:
                cursor.execute("PREPARE asked FROM %s", (_with_null(statements.sql(name, settings, **known)),))
            except mysql.connector.Error as error:
                if error.errno in ACCESS_DENIED:
                    refused.add(name)
    return refused


def test_the_sink_needs_exactly_the_granted_rights(granted: Granted) -> None:
    assert not _refused_statements(granted.sink)
    for statement in granted.statements:
        if not statement.startswith("GRANT") or "orderflow_sink" not in statement:
            continue
        privileges, where = statement.removeprefix("GRANT ").split(" ON ")
        for privilege in privileges.split(", "):
            execute_with_tls(granted.administrator, f"REVOKE {privilege} ON {where.replace(' TO ', ' FROM ')}")
            assert _refused_statements(granted.sink), f"{privilege} ON {where} is not needed"
            execute_with_tls(granted.administrator, f"GRANT {privilege} ON {where}")
    assert not _refused_statements(granted.sink)


def test_the_reader_cannot_write(granted: Granted) -> None:
    refused = _refused_statements(granted.reader)
    assert refused
    assert not {name for name in refused if name.startswith("select_")}
    for table in statements.table_names(granted.reader).values():
        for text in (f"DELETE FROM {table}", f"UPDATE {table} SET a = 1", f"INSERT INTO {table} VALUES ()"):
            with pytest.raises(mysql.connector.Error) as denied:
                execute_with_tls(granted.reader, "USE shop", text)
            assert denied.value.errno in ACCESS_DENIED


def test_each_role_needs_exactly_its_kafka_rights(
    broker: SecuredKafka, granted: Granted, caplog: pytest.LogCaptureFixture
) -> None:
    def writes(settings: Settings) -> None:
        producer = OrderProducer(settings, None, StopRequest(), lambda _: None)
        producer.send((b"k", b"v", 0))
        producer.flush()
        if producer.fatal_error:
            raise producer.fatal_error

    def reads(settings: Settings) -> None:
        info = topic.describe(settings)
        with topic.translate_errors(settings), closing(topic.consumer(settings)) as consumer:
            consumer.assign([TopicPartition(info.name, partition, 0) for partition in info.partitions])
            for message in consumer.consume(1_000, timeout=1):
                if (error := message.error()) and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)

    def produces(settings: Settings) -> None:
        writes(settings)
        reads(settings)

    for role, action in {"producer": produces, "sink": reads}.items():
        settings = getattr(granted, role)
        action(settings)
        for acl in [acl for acl in granted.acls if acl.principal == f"User:orderflow_{role}"]:
            # Without these two, a command only reports that.
            if acl.name == numbering.GROUP or acl.operation == AclOperation.DESCRIBE_CONFIGS:
                continue
            broker.delete_acl(acl)
            try:
                with pytest.raises(KafkaRefused):
                    _until_refused(partial(action, settings))
            finally:
                broker.create_acls([acl])
    for role in ("sink", "reader"):
        settings = getattr(granted, role)
        reads(settings)
        with pytest.raises(KafkaRefused, match="refuses"):
            writes(settings)
    with Progress(disable=True) as progress:
        numbering.next_number(granted.producer, topic.describe(granted.producer), progress, save_threshold=-1)
    assert not caplog.messages, "the producer may store the offset up to which it has read"


def test_a_cleanup_policy_that_may_not_be_read_is_a_warning(broker: SecuredKafka, granted: Granted) -> None:
    assert topic.check_cleanup_policy(granted.sink) == "delete"
    [acl] = [
        acl
        for acl in granted.acls
        if acl.principal == "User:orderflow_sink" and acl.operation == AclOperation.DESCRIBE_CONFIGS
    ]
    broker.delete_acl(acl)
    try:
        until(lambda: topic.check_cleanup_policy(granted.sink) is None)
        [found] = [check for check in checks(granted.sink) if check.name == "compaction"]
        assert found.status == "warning" and "init --grants" in found.hint
    finally:
        broker.create_acls([acl])


def _until_refused(action: Callable[[], None]) -> None:
    """Repeat until refused: a broker applies a revoked right with a short delay."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        action()


# `orderflow sink` with all of Spark's output: its web UI, its event log, its log at INFO, and the explained query.
_SHOWING_SINK = """
import sys
from pathlib import Path
from orderflow.cli import main
from orderflow.pipeline import spark_query
from orderflow.spark import session as spark_session

read_records = spark_query.read_records
def explained(*arguments, **options):
    records = read_records(*arguments, **options)
    records.explain(extended=True)
    return records
spark_query.read_records = explained
port, folder = sys.argv.pop(), Path(sys.argv.pop())
(folder / "events").mkdir()
spark_session._LOGGING = folder / "log4j2.properties"
logging = Path(spark_session.__file__).with_name("log4j2.properties").read_text().replace("off", "info")
spark_session._LOGGING.write_text(logging)
options = spark_session._launch_options
spark_session._launch_options = lambda runtime: options(runtime) | {
    "spark.ui.enabled": "true",
    "spark.ui.port": port,
    "spark.sql.ui.explainMode": "extended",
    "spark.eventLog.enabled": "true",
    "spark.eventLog.dir": str(folder / "events"),
    "spark.eventLog.compress": "false",
}
main()
"""


def test_each_role_works_and_no_secret_is_shown(granted: Granted, folder: Path, tmp_path: Path) -> None:
    """Run the system over TLS with the printed rights, and search all of its output."""
    results = [run(granted.producer, "produce", "--count", "300", "--bad", "0.1", cwd=tmp_path)]
    ui, metrics = free_port(), free_port()
    sink = Process(
        "sink",
        [sys.executable, "-c", _SHOWING_SINK, "sink", str(tmp_path), str(ui)],
        log=tmp_path / "sink.log",
        env=os.environ | replace(granted.sink, sink_metrics_port=metrics).environment(),
        cwd=tmp_path,
    )
    texts: dict[str, str] = {}
    sink.start()
    try:
        until(lambda: _accounted_for(granted.sink) == _written(granted.sink), sink)
        texts |= _read_pages(f"http://127.0.0.1:{ui}") | _read_pages(f"http://127.0.0.1:{metrics}", "/metrics")
        assert any("KafkaTable" in page for page in texts.values()), "the plans are shown in full"
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                texts[f"argv {process.pid}"] = " ".join(process.cmdline())
        for process in psutil.Process(sink.identity[0]).children(recursive=True):
            with suppress(psutil.Error):
                texts[f"environ {process.pid}"] = str(process.environ())
        results.append(run(granted.sink, "doctor", "--json", cwd=tmp_path))
        # Spark shows the plan of a failed query.
        execute_with_tls(granted.administrator, "REVOKE INSERT ON shop.orders FROM orderflow_sink@'%'")
        results.append(run(granted.producer, "produce", "--count", "1", cwd=tmp_path))
        until(lambda: not sink.alive)
    finally:
        sink.kill()
        execute_with_tls(granted.administrator, "GRANT INSERT ON shop.orders TO orderflow_sink@'%'")
    assert sink.exit_code == 2
    assert "user orderflow_sink lacks a privilege" in "\n".join(sink.last_lines())
    results.append(run(granted.sink, "sink", "--engine", "direct", "--once", cwd=tmp_path))
    for arguments in (("status", "--json"), ("audit",)):
        results.append(run(granted.reader, *arguments, cwd=tmp_path))
    results.append(run(granted.sink, "quarantine", "discard", "--all", "--because", "seen", cwd=tmp_path))
    for result in results:
        assert result.returncode == 0, (result.args, result.stdout, result.stderr)
    assert [check for check in json.loads(results[1].stdout)["checks"] if check["status"] != "ok"] == []
    with running(replace(granted.reader, dashboard_port=ui), "dashboard", folder=tmp_path, name="dashboard") as page:
        until(lambda: get(f"http://127.0.0.1:{ui}/metrics")[0] == 200, page)
        texts |= _read_pages(f"http://127.0.0.1:{ui}", "/metrics")
    texts |= {str(result.args): result.stdout + result.stderr for result in results}
    texts |= {str(file): file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file()}
    for event in ("SparkListenerSQLExecutionStart", "QueryTerminatedEvent", "StreamingRelationV2"):
        assert any(event in text for text in texts.values()), "the event log is searched"
    key = granted.sink.kafka_ssl_key_location
    secrets = (MARK, Path(key).read_text().splitlines()[1], granted.administrator.mysql_password)
    assert [where for where, text in texts.items() if any(secret in text for secret in secrets)] == []


def test_no_order_is_sent_unencrypted(granted: Granted, broker: SecuredKafka, tmp_path: Path) -> None:
    def captured_traffic(producer: Settings) -> bytes:
        addresses = (producer.kafka_bootstrap_servers, granted.sink.kafka_bootstrap_servers)
        ports = {granted.sink.mysql_port, *(int(address.rpartition(":")[2]) for address in addresses)}
        with capture(ports) as packets:
            for settings, *arguments in (
                (replace(producer, kafka_compression="none"), "produce", "--count", "50"),
                (granted.sink, "sink", "--engine", "direct", "--once"),
            ):
                result = run(settings, *arguments, cwd=tmp_path)
                assert result.returncode == 0, result.stderr
        return b"".join(packets)

    unencrypted = replace(
        granted.producer,
        kafka_bootstrap_servers=broker.bootstrap_servers("SASL_PLAINTEXT"),
        kafka_security_protocol="SASL_PLAINTEXT",
    )
    assert b"order_timestamp" in captured_traffic(unencrypted), "unencrypted traffic is captured"
    packets = captured_traffic(granted.producer)
    assert len(packets) > 50 * 200
    for text in (b"order_timestamp", b"ORDER-", MARK.encode(), b"LOAD DATA", b"orders_ledger"):
        assert text not in packets


def _accounted_for(settings: Settings) -> int:
    with Connection(settings) as connection:
        return sum(entry.next_offset for entry in ledger.read_entries(connection))


def _written(settings: Settings) -> int:
    bounds = topic.bounds(settings, topic.describe(settings).partitions)
    return sum(bound.end for bound in bounds.values())


def _read_pages(address: str, start: str = "/") -> dict[str, str]:
    """Return every page that can be reached by links, and what Spark's REST API reports about its application."""
    pages: dict[str, str] = {}
    wanted = [start, "/api/v1/applications"]
    while wanted:
        path = wanted.pop()
        if path in pages or path.startswith("/static") or "kill" in path:
            continue
        try:
            with urllib.request.urlopen(address + path, timeout=30) as response:
                pages[path] = response.read().decode(errors="replace")
        except urllib.error.HTTPError:
            pages[path] = ""
        wanted += [link.replace("&amp;", "&") for link in re.findall(r"""href=["'](/[^"'#]*)""", pages[path])]
        for application in re.findall(r'"id" : "(local-\d+)"', pages[path]) if path.endswith("applications") else ():
            paths = ("jobs", "stages?details=true", "executors", "environment", "sql?details=true&planDescription=true")
            wanted += [f"/api/v1/applications/{application}/{what}" for what in paths]
    return {address + path: text for path, text in pages.items()}
