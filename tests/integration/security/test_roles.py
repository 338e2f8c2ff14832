"""TLS, SASL and least privilege, with servers that require them. No secret appears in any output."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

import msgspec
import mysql.connector
import psutil
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from rich.progress import Progress

from orderflow import topic
from orderflow.cli.doctor.checks import checks
from orderflow.embedded import debian
from orderflow.embedded.process import Process, free_port
from orderflow.errors import DatabaseRefused, DatabaseUnavailable, KafkaRefused
from orderflow.produce import numbering
from orderflow.produce.delivery import Delivery, StopRequest
from orderflow.settings import Settings
from orderflow.store import ledger, schema, statements
from orderflow.store.connection import Connection
from tests.certificates import OTHER_HOST, Authority, Certificate
from tests.processes import run, running, until
from tests.secured import SecuredDatabase, SecuredKafka
from tests.servers import running as serving

# Every secret contains this mark. The other characters may be escaped in an output.
_MARK = f"never-shown-{uuid.uuid4().hex}"
# Passwords may contain non-ASCII characters, and characters that are special in JAAS, SQL, JSON and a shell.
_PASSWORDS = {
    f"orderflow_{role}": f"""a"b\\c d'e$é {role} {_MARK}""" for role in ("producer", "sink", "reader", "nobody")
}
_KEY_PASSWORD = f"key {_MARK}"
_EVERY_PROTOCOL = 3  # ETH_P_ALL of linux/if_ether.h
_LONGEST_PACKET = 65_536

ACCESS_DENIED = {1044, 1045, 1142, 1143, 1227, 1370}  # to a database, a table, a column, an administrator's command


class Authorities(NamedTuple):
    """An authority that the servers and clients trust, and one that they do not trust."""

    trusted: Authority
    stranger: Authority


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("security")


@pytest.fixture(scope="module")
def authorities(folder: Path) -> Authorities:
    return Authorities(Authority(folder / "ca", "trusted"), Authority(folder / "ca", "stranger"))


@pytest.fixture(scope="module")
def client(authorities: Authorities) -> Certificate:
    return authorities.trusted.issue("client", passphrase=_KEY_PASSWORD)


@pytest.fixture(scope="module")
def broker(folder: Path, server_folder: Path, authorities: Authorities) -> Iterator[SecuredKafka]:
    broker = SecuredKafka(server_folder / "secured-kafka", authorities.trusted, _PASSWORDS)
    with serving(broker):
        admin = Settings(kafka_bootstrap_servers=broker.address)
        topic.create(admin)
        for principal in ("User:orderflow_sink", "User:CN=client"):
            allow = f"kafka-acls.sh --add --allow-principal {principal} --operation Read --topic orders"
            _create_acls(broker, _acls(allow))
        yield broker


@pytest.fixture(scope="module")
def mysql_tls(server_folder: Path, authorities: Authorities) -> Iterator[SecuredDatabase]:
    if not shutil.which("mysqld") and not debian.available():
        pytest.skip("no genuine MySQL: neither mysqld on PATH, nor apt-get to download it")
    database = SecuredDatabase(server_folder / "secured-mysql", "mysql", authorities.trusted)
    with serving(database):
        yield database


@pytest.fixture(scope="module")
def mariadb_tls(server_folder: Path, authorities: Authorities) -> Iterator[SecuredDatabase]:
    database = SecuredDatabase(server_folder / "secured-mariadb", "mariadb", authorities.trusted)
    with serving(database):
        yield database


def _kafka(broker: SecuredKafka, authority: Authority, listener: str = "SASL_SSL", role: str = "sink") -> Settings:
    return Settings(
        kafka_bootstrap_servers=broker.bootstrap_servers(listener),
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_username=f"orderflow_{role}",
        kafka_password=_PASSWORDS[f"orderflow_{role}"],
        kafka_ssl_ca_location=str(authority.certificate),
    )


def _with(settings: Settings, **changes: Any) -> Settings:
    return msgspec.structs.replace(settings, **changes)


def _joined(kafka: Settings, database: Settings) -> Settings:
    """Return the settings of both servers."""
    changes = {name: value for name, value in msgspec.structs.asdict(database).items() if name.startswith("mysql")}
    return _with(kafka, **changes)


def _with_client_certificate(settings: Settings, certificate: Certificate) -> Settings:
    return _with(
        settings,
        kafka_ssl_certificate_location=str(certificate.certificate),
        kafka_ssl_key_location=str(certificate.key),
        kafka_ssl_key_password=_KEY_PASSWORD,
    )


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_kafka_accepts_passwords(broker: SecuredKafka, authorities: Authorities, protocol: str, mechanism: str) -> None:
    settings = _with(
        _kafka(broker, authorities.trusted, protocol),
        kafka_security_protocol=protocol,
        kafka_sasl_mechanism=mechanism,
    )
    assert len(topic.describe(settings).partitions) == 3


def test_kafka_accepts_client_certificates(broker: SecuredKafka, authorities: Authorities, client: Certificate) -> None:
    settings = _with(_kafka(broker, authorities.trusted, "SSL"), kafka_security_protocol="SSL")
    assert len(topic.describe(_with_client_certificate(settings, client)).partitions) == 3


def _kafka_faults(
    broker: SecuredKafka, authorities: Authorities, client: Certificate
) -> dict[str, tuple[Settings, str, str]]:
    """Return, by name, settings, the error message, and the setting or words that its hint names."""
    good = _kafka(broker, authorities.trusted)
    by_certificate = _with(good, kafka_bootstrap_servers=broker.bootstrap_servers("SSL"), kafka_security_protocol="SSL")
    wrong = f"wrong {_MARK}"
    foreign_client = _with_client_certificate(
        by_certificate, authorities.stranger.issue("foreigner", passphrase=_KEY_PASSWORD)
    )
    return {
        "wrong password": (_with(good, kafka_password=wrong), "refuses user orderflow_sink", "KAFKA_PASSWORD"),
        "unknown user": (_with(good, kafka_sasl_username="who"), "refuses user who", "KAFKA_SASL_USERNAME"),
        "wrong authority": (
            _kafka(broker, authorities.stranger),
            "signed by an authority that is not trusted",
            "KAFKA_SSL_CA_LOCATION",
        ),
        "no authority": (_with(good, kafka_ssl_ca_location=""), "not trusted", "KAFKA_SSL_CA_LOCATION"),
        "expired": (_kafka(broker, authorities.trusted, "EXPIRED"), "certificate has expired", "renewed"),
        "other host": (
            _kafka(broker, authorities.trusted, "ELSEWHERE"),
            "is not valid for host name 127.0.0.1",
            "KAFKA_BOOTSTRAP_SERVERS",
        ),
        "no client certificate": (
            by_certificate,
            "requires a client certificate",
            "KAFKA_SSL_CERTIFICATE_LOCATION",
        ),
        "foreign client certificate": (
            foreign_client,
            "refuses the client certificate",
            "KAFKA_SSL_CERTIFICATE_LOCATION",
        ),
        "wrong key password": (
            _with(_with_client_certificate(by_certificate, client), kafka_ssl_key_password=wrong),
            "ssl.key.location failed",
            "KAFKA_SSL_KEY_PASSWORD",
        ),
        "no TLS": (_with(good, kafka_security_protocol="SASL_PLAINTEXT"), "uses TLS", "KAFKA_SECURITY_PROTOCOL"),
        "plain text": (_with(good, kafka_security_protocol="PLAINTEXT"), "uses TLS", "KAFKA_SECURITY_PROTOCOL"),
        "no right": (_with(good, kafka_topic="secret"), "refuses", "--grants"),
    }


def test_kafka_refusals_name_their_cause(
    broker: SecuredKafka, authorities: Authorities, client: Certificate, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, (settings, message, hint) in _kafka_faults(broker, authorities, client).items():
        with pytest.raises(KafkaRefused) as refused:
            topic.describe(settings)
        assert message in refused.value.message, name
        assert hint in refused.value.hint, name
        assert _MARK not in str(refused.value) + refused.value.hint + repr(settings)
    assert _MARK not in "".join(capfd.readouterr())


@pytest.fixture(params=["mysql_tls", "mariadb_tls"])
def database(request: pytest.FixtureRequest, authorities: Authorities) -> Iterator[SecuredDatabase]:
    server: SecuredDatabase = request.getfixturevalue(request.param)
    yield server
    server.use_certificate(authorities.trusted.issue("good-again"))


def _database(database: SecuredDatabase, authority: Authority) -> Settings:
    return Settings(
        mysql_host="127.0.0.1",
        mysql_port=database.port,
        mysql_user=database.user,
        mysql_password=database.password,
        mysql_ssl_ca=str(authority.certificate),
        mysql_database="mysql",
    )


def _cipher(settings: Settings) -> str:
    with Connection(settings) as connection, connection._raw.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        [(_, cipher)] = cursor.fetchall()
        return str(cipher)


def test_connections_to_the_database_use_tls(database: SecuredDatabase, authorities: Authorities) -> None:
    good = _database(database, authorities.trusted)
    assert _cipher(good)
    assert _cipher(_with(good, mysql_host="localhost")), "the certificate is checked against the configured name"
    assert _cipher(_with(good, mysql_ssl_ca="")), "TLS is used by default if the server supports it"
    for hosts, mode in ((OTHER_HOST, "VERIFY_CA"), ("DNS:localhost", None)):
        database.use_certificate(authorities.trusted.issue("other", hosts))
        assert _cipher(_with(good, mysql_ssl_mode=mode, mysql_host="localhost"))


def test_the_database_accepts_client_certificates(
    database: SecuredDatabase, authorities: Authorities, client: Certificate
) -> None:
    good = _database(database, authorities.trusted)
    _execute(good, "CREATE USER IF NOT EXISTS certified@'%' IDENTIFIED BY 'pw' REQUIRE X509")
    certified = _with(good, mysql_user="certified", mysql_password="pw", mysql_database="information_schema")
    with pytest.raises(DatabaseRefused, match="refuses user certified"):
        Connection(certified)
    plain = authorities.trusted.issue("plain-client")
    with_certificate = _with(certified, mysql_ssl_cert=str(plain.certificate), mysql_ssl_key=str(plain.key))
    assert _cipher(with_certificate)
    foreign = authorities.stranger.issue("foreign-client")
    with pytest.raises(DatabaseUnavailable) as disconnected:  # the server gives no reason
        Connection(_with(certified, mysql_ssl_cert=str(foreign.certificate), mysql_ssl_key=str(foreign.key)))
    assert "MYSQL_SSL_CERT" in disconnected.value.hint


def test_database_refusals_name_their_cause(
    database: SecuredDatabase, authorities: Authorities, capfd: pytest.CaptureFixture[str]
) -> None:
    good = _database(database, authorities.trusted)
    faults = {
        "wrong password": (_with(good, mysql_password=_MARK), "refuses user root", "MYSQL_PASSWORD"),
        "wrong reader's password": (
            _with(good, mysql_reader_user="root", mysql_reader_password=_MARK).for_reading,
            "refuses user root",
            "MYSQL_READER_PASSWORD",
        ),
        "wrong authority": (
            _database(database, authorities.stranger),
            "signed by an authority that is not trusted",
            "MYSQL_SSL_CA",
        ),
        "no authority": (_with(good, mysql_ssl_ca=__file__), "does not accept the TLS connection", "MYSQL_SSL_CA"),
    }
    for name, fault in faults.items():
        _assert_refused(name, *fault)
    database.use_certificate(authorities.trusted.issue("elsewhere", OTHER_HOST))
    _assert_refused("other host", good, "is not valid for host name 127.0.0.1", "MYSQL_HOST")
    if database.program.kind == "mariadb":  # MySQL does not load an expired certificate, but may keep running with one
        database.use_certificate(authorities.trusted.issue("expired-server", days=-1))
        _assert_refused("expired", good, "certificate has expired", "renewed")
    assert _MARK not in "".join(capfd.readouterr())


def _assert_refused(name: str, settings: Settings, message: str, hint: str) -> None:
    with pytest.raises(DatabaseRefused) as refused:
        Connection(settings)
    assert message in refused.value.message, name
    assert hint in refused.value.hint, name
    assert _MARK not in str(refused.value) + refused.value.hint


def test_a_server_without_tls_is_refused_if_tls_is_required(mariadb_server: Settings, authorities: Authorities) -> None:
    settings = _with(mariadb_server, mysql_ssl_ca=str(authorities.trusted.certificate), mysql_database="mysql")
    _assert_refused("no TLS", settings, "does not accept the TLS connection", "MYSQL_SSL_MODE")


def test_the_doctor_and_the_commands_report_tls_errors(
    broker: SecuredKafka, mariadb_tls: SecuredDatabase, authorities: Authorities, folder: Path
) -> None:
    wrong = _joined(_kafka(broker, authorities.trusted, "EXPIRED"), _database(mariadb_tls, authorities.stranger))
    result = run(wrong, "doctor", "--json", cwd=folder)
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.returncode == 1
    assert "certificate has expired" in checks["Kafka"]["found"]
    assert "MYSQL_SSL_CA" in checks["database"]["hint"]
    for arguments, message in (
        (("sink", "--engine", "direct"), "signed by an authority that is not trusted"),
        (("produce", "--count", "1"), "certificate has expired"),
    ):
        result = run(wrong, *arguments, cwd=folder)
        assert result.returncode == 2, result.stderr
        assert message in result.stderr


def _execute(settings: Settings, *texts: str) -> None:
    with mysql.connector.connect(
        host=settings.mysql_host,
        port=settings.mysql_port,
        user=settings.mysql_user,
        password=settings.mysql_password,
        autocommit=True,
    ) as connection:
        for text in texts:
            connection.cursor().execute(text)


def _acls(command: str) -> list[AclBinding]:
    """Parse a kafka-acls command."""
    parser = ArgumentParser()
    parser.add_argument("--operation", action="append")
    for option in ("--bootstrap-server", "--command-config", "--allow-principal", "--topic", "--group"):
        parser.add_argument(option)
    parser.add_argument("--add", action="store_true")
    program, *arguments = shlex.split(command)
    options = parser.parse_args(arguments)
    assert program == "kafka-acls.sh" and options.add
    kind, name = (ResourceType.TOPIC, options.topic) if options.topic else (ResourceType.GROUP, options.group)
    return [
        AclBinding(
            *(kind, name, ResourcePatternType.LITERAL, options.allow_principal, "*"),
            *(AclOperation[_in_snake_case(operation)], AclPermissionType.ALLOW),
        )
        for operation in options.operation
    ]


def _in_snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def _create_acls(broker: SecuredKafka, acls: list[AclBinding]) -> None:
    for future in broker.admin.create_acls(acls).values():
        future.result()


def _delete_acl(broker: SecuredKafka, acl: AclBinding) -> None:
    matching = AclBindingFilter(
        *(acl.restype, acl.name, acl.resource_pattern_type, acl.principal, acl.host),
        *(acl.operation, acl.permission_type),
    )
    for future in broker.admin.delete_acls([matching]).values():
        assert len(future.result()) == 1


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
    database = _with(_database(mysql_tls, authorities.trusted), mysql_database="shop", kafka_topic="granted")
    administrator = _with(database, kafka_bootstrap_servers=broker.address)
    assert run(administrator, "init", cwd=folder).returncode == 0
    printed = run(administrator, "init", "--grants", cwd=folder).stdout.splitlines()
    granting = [line.removesuffix(";") for line in printed if not line.startswith("--")]
    for line in granting:
        [user] = [user for user in _PASSWORDS if user in line]
        password = _PASSWORDS[user].replace("\\", "\\\\").replace("'", "''")
        _execute(administrator, line.replace("change-me", password))
    acls = [acl for line in printed if line.startswith("-- kafka-acls") for acl in _acls(line.removeprefix("-- "))]
    _create_acls(broker, acls)

    def role(name: str, listener: str = "SASL_SSL") -> Settings:
        file = folder / f"{name}.password"
        file.write_text(_PASSWORDS[f"orderflow_{name}"] + "\n")
        return _with(
            _joined(_kafka(broker, authorities.trusted, listener, name), database),
            kafka_topic="granted",
            kafka_password_file=str(file),
            mysql_user=f"orderflow_{name}",
            mysql_password=_PASSWORDS[f"orderflow_{name}"],
            mysql_password_file=str(file),
        )

    key_password = folder / "key.password"
    key_password.write_text(_KEY_PASSWORD)
    sink = _with(_with_client_certificate(role("sink", "BOTH"), client), kafka_ssl_key_password_file=str(key_password))
    return Granted(administrator, role("producer"), sink, role("reader"), granting, acls)


_FILLED_BY_CALLERS = {"rows", "ids", "values", "partitions", "tables", "categories", "columns", "view", "definition"}


def _refused_statements(settings: Settings) -> set[str]:
    """Return the store's statements that this user may not run, and the tables that it cannot see."""
    anything: defaultdict[str, str] = defaultdict(
        lambda: "NULL", rows="(NULL)", tables="NULL", view="dual", definition="SELECT 1"
    )
    try:
        refused = {step.what for step in schema.missing(settings)}
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
                cursor.execute(
                    "PREPARE asked FROM %s", (statements.with_null(statements.sql(name, settings, **known)),)
                )
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
            _execute(granted.administrator, f"REVOKE {privilege} ON {where.replace(' TO ', ' FROM ')}")
            assert _refused_statements(granted.sink), f"{privilege} ON {where} is not needed"
            _execute(granted.administrator, f"GRANT {privilege} ON {where}")
    assert not _refused_statements(granted.sink)


def test_the_reader_cannot_write(granted: Granted) -> None:
    refused = _refused_statements(granted.reader)
    assert refused
    assert not {name for name in refused if name.startswith("select_")}
    for table in statements.table_names(granted.reader).values():
        for text in (f"DELETE FROM {table}", f"UPDATE {table} SET a = 1", f"INSERT INTO {table} VALUES ()"):
            with pytest.raises(mysql.connector.Error) as denied:
                _execute(granted.reader, "USE shop", text)
            assert denied.value.errno in ACCESS_DENIED


def test_each_role_needs_exactly_its_kafka_rights(
    broker: SecuredKafka, granted: Granted, caplog: pytest.LogCaptureFixture
) -> None:
    def writes(settings: Settings) -> None:
        delivery = Delivery(settings, None, StopRequest(), lambda _: None)
        delivery.send((b"k", b"v", 0))
        delivery.flush()
        if delivery.fatal_error:
            raise delivery.fatal_error

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
            _delete_acl(broker, acl)
            try:
                with pytest.raises(KafkaRefused):
                    _until_refused(partial(action, settings))
            finally:
                _create_acls(broker, [acl])
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
    _delete_acl(broker, acl)
    try:
        until(lambda: topic.check_cleanup_policy(granted.sink) is None)
        [found] = [check for check in checks(granted.sink) if check.name == "compaction"]
        assert found.status == "warning" and "init --grants" in found.hint
    finally:
        _create_acls(broker, [acl])


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
from orderflow.pipeline import spark_engine
from orderflow.spark import session as spark_session

read_records = spark_engine.read_records
def explained(*arguments, **options):
    records = read_records(*arguments, **options)
    records.explain(extended=True)
    return records
spark_engine.read_records = explained
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
        env=os.environ | _with(granted.sink, sink_metrics_port=metrics).environment(),
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
        _execute(granted.administrator, "REVOKE INSERT ON shop.orders FROM orderflow_sink@'%'")
        results.append(run(granted.producer, "produce", "--count", "1", cwd=tmp_path))
        until(lambda: not sink.alive)
    finally:
        sink.kill()
        _execute(granted.administrator, "GRANT INSERT ON shop.orders TO orderflow_sink@'%'")
    assert sink.exit_code == 2
    assert "refuses user orderflow_sink" in "\n".join(sink.last_lines())
    results.append(run(granted.sink, "sink", "--engine", "direct", "--once", cwd=tmp_path))
    for arguments in (("status", "--json"), ("audit",)):
        results.append(run(granted.reader, *arguments, cwd=tmp_path))
    results.append(run(granted.sink, "quarantine", "discard", "--all", "--because", "seen", cwd=tmp_path))
    for result in results:
        assert result.returncode == 0, (result.args, result.stdout, result.stderr)
    assert [check for check in json.loads(results[1].stdout)["checks"] if check["status"] != "ok"] == []
    with running(_with(granted.reader, dashboard_port=ui), "dashboard", folder=tmp_path, name="dashboard") as page:
        until(lambda: _is_served(f"http://127.0.0.1:{ui}/metrics"), page)
        texts |= _read_pages(f"http://127.0.0.1:{ui}", "/metrics")
    texts |= {str(result.args): result.stdout + result.stderr for result in results}
    texts |= {str(file): file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file()}
    for event in ("SparkListenerSQLExecutionStart", "QueryTerminatedEvent", "StreamingRelationV2"):
        assert any(event in text for text in texts.values()), "the event log is searched"
    key = granted.sink.kafka_ssl_key_location
    secrets = (_MARK, Path(key).read_text().splitlines()[1], granted.administrator.mysql_password)
    assert [where for where, text in texts.items() if any(secret in text for secret in secrets)] == []


def test_no_order_is_sent_unencrypted(granted: Granted, broker: SecuredKafka, tmp_path: Path) -> None:
    def captured_traffic(producer: Settings) -> bytes:
        addresses = (producer.kafka_bootstrap_servers, granted.sink.kafka_bootstrap_servers)
        ports = {granted.sink.mysql_port, *(int(address.rpartition(":")[2]) for address in addresses)}
        with _capture_packets(ports) as packets:
            for settings, *arguments in (
                (_with(producer, kafka_compression="none"), "produce", "--count", "50"),
                (granted.sink, "sink", "--engine", "direct", "--once"),
            ):
                result = run(settings, *arguments, cwd=tmp_path)
                assert result.returncode == 0, result.stderr
        return b"".join(packets)

    unencrypted = _with(
        granted.producer,
        kafka_bootstrap_servers=broker.bootstrap_servers("SASL_PLAINTEXT"),
        kafka_security_protocol="SASL_PLAINTEXT",
    )
    assert b"order_timestamp" in captured_traffic(unencrypted), "unencrypted traffic is captured"
    packets = captured_traffic(granted.producer)
    assert len(packets) > 50 * 200
    for text in (b"order_timestamp", b"ORDER-", _MARK.encode(), b"LOAD DATA", b"orders_ledger"):
        assert text not in packets


@contextmanager
def _capture_packets(ports: set[int]) -> Iterator[list[bytes]]:
    """Capture the traffic between clients and these ports on the loopback device while the block lasts."""
    try:
        packet_socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_EVERY_PROTOCOL))
    except PermissionError:
        pytest.skip("capturing packets needs root's rights (CAP_NET_RAW)")
    packets: list[bytes] = []
    stop_event = threading.Event()

    def capture() -> None:
        while not stop_event.is_set():
            with suppress(TimeoutError):
                packet = packet_socket.recv(_LONGEST_PACKET)
                header = 4 * (packet[0] & 0x0F)  # the IPv4 header, followed by TCP, which starts with the ports
                if ports.intersection(struct.unpack_from(">HH", packet, header)):
                    packets.append(packet)

    with packet_socket, ThreadPoolExecutor(1) as pool:
        packet_socket.bind(("lo", 0))
        packet_socket.settimeout(0.2)
        packet_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024 * 1024)
        capturing = pool.submit(capture)
        try:
            yield packets
        finally:
            stop_event.set()
            capturing.result()


def _accounted_for(settings: Settings) -> int:
    with Connection(settings) as connection:
        return sum(entry.next_offset for entry in ledger.entries(connection))


def _written(settings: Settings) -> int:
    bounds = topic.bounds(settings, topic.describe(settings).partitions)
    return sum(bound.end for bound in bounds.values())


def _is_served(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=10).close()
    except OSError:
        return False
    return True


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
