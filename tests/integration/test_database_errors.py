"""Answers of a real server that refuses logins, cannot write now, or is configured so that it refuses."""

from __future__ import annotations

import socket
import struct
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from orderflow import topic as topics
from orderflow.cli.doctor.checks import checks
from orderflow.errors import Contention, DatabaseRefused, DatabaseUnavailable, OrderFlowError, UnknownDatabaseError
from orderflow.pipeline.direct import DirectEngine
from orderflow.pipeline.supervisor import Supervisor
from orderflow.settings import Settings
from orderflow.store import ledger, schema, snapshot
from orderflow.store.commit_result import CommitResult
from orderflow.store.connection import Connection
from orderflow.store.error_numbers import NO_LOCAL_INFILE
from orderflow.store.writer import Writer
from tests.faults.proxy import Proxy, Trap, mysql_error, without_tls
from tests.support.corpus import SAMPLE, numbered
from tests.support.feeder import TOPIC, batch_of, commit
from tests.support.processes import until
from tests.support.sql import execute, global_variable, raw_session, select
from tests.support.tables import assert_consistent


@contextmanager
def user(settings: Settings, *changes: str, host: str = "%", grant: str = "ALL") -> Iterator[Settings]:
    """Create a user with rights on the database, changed by ALTER USER … `changes`."""
    name = f"user_{uuid.uuid4().hex[:12]}"
    account = f"{name}@'{host}'"
    execute(settings, f"CREATE USER {account} IDENTIFIED BY 'secret'")
    try:
        execute(settings, f"GRANT {grant} ON `{settings.mysql_database}`.* TO {account}")
        for change in changes:
            execute(settings, f"ALTER USER {account} {change}")
        yield msgspec.structs.replace(settings, mysql_user=name, mysql_password="secret")
    finally:
        execute(settings, f"DROP USER {account}")


def is_mariadb(settings: Settings) -> bool:
    return "MariaDB" in select(settings, "SELECT VERSION()")[0][0]


def doctor_check(settings: Settings, name: str) -> tuple[str, str, str]:
    [check] = [check for check in checks(settings) if check.name == name]
    return check.status, check.found, check.hint


def assert_login_refused(settings: Settings, sentence: str, hint: str) -> None:
    """Check the error and its hint in the sink and in the doctor."""
    with pytest.raises(DatabaseRefused, match=sentence) as refused:
        Writer(settings, TOPIC)
    assert hint in refused.value.hint
    status, found, shown_hint = doctor_check(settings, "database")
    assert status == "error" and sentence in found and hint in shown_hint


# Refused logins.


def test_a_wrong_password_is_reported(store: Settings) -> None:
    wrong = msgspec.structs.replace(store, mysql_password="wrong")
    assert_login_refused(wrong, f"refuses user {store.mysql_user}: Access denied", "MYSQL_PASSWORD")


def test_an_expired_password_is_reported(store: Settings) -> None:
    with user(store, "PASSWORD EXPIRE") as expired:
        assert_login_refused(expired, "the password has expired", f"ALTER USER '{expired.mysql_user}'@")


def test_a_locked_account_is_reported(store: Settings) -> None:
    with user(store, "ACCOUNT LOCK") as locked:
        assert_login_refused(locked, "the account is locked", "ACCOUNT UNLOCK;")


def test_a_host_that_may_not_connect_is_reported(store: Settings) -> None:
    execute(store, "FLUSH PRIVILEGES")  # the server remembers that an account for any host existed
    with Proxy(store.mysql_port, source="127.0.0.9") as proxy:  # the server has no account for this address
        elsewhere = msgspec.structs.replace(store, mysql_port=proxy.port)
        assert_login_refused(elsewhere, "does not allow connections from this host", "CREATE USER 'root'@")


def test_a_plugin_that_needs_an_encrypted_connection_is_reported(store: Settings) -> None:
    if is_mariadb(store):
        pytest.skip("MariaDB's own plugin sends no password")
    with user(store) as new_user, Proxy(store.mysql_port, greeting=without_tls) as proxy:
        plain = msgspec.structs.replace(new_user, mysql_port=proxy.port)
        assert_login_refused(plain, "by a plugin that needs an encrypted connection", "Enable TLS")


def test_a_server_that_requires_tls_is_reported(store: Settings) -> None:
    if is_mariadb(store):
        pytest.skip("the tests' own MariaDB has no TLS")
    with (
        global_variable(store, "require_secure_transport", "1"),
        Proxy(store.mysql_port, greeting=without_tls) as proxy,
    ):
        plain = msgspec.structs.replace(store, mysql_port=proxy.port)
        assert_login_refused(plain, "requires TLS, and the connection has none", "Configure TLS at the server")


@contextmanager
def interrupting(target: int, *, reset: bool) -> Iterator[int]:
    """Yield the port of a proxy that ends each connection when the client answers the server's greeting."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client, socket.create_connection(("127.0.0.1", target)) as server:
                    client.sendall(server.recv(4096))
                    client.recv(4096)
                    if reset:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("reset", [False, True])
def test_a_handshake_that_ends_is_no_refusal(store: Settings, reset: bool) -> None:
    with interrupting(store.mysql_port, reset=reset) as port, pytest.raises(DatabaseUnavailable):
        Connection(msgspec.structs.replace(store, mysql_port=port))


def test_a_wrong_call_of_the_client_is_no_outage(store: Settings) -> None:
    with Connection(store) as connection, pytest.raises(UnknownDatabaseError, match="Not all parameters were used"):
        connection.execute_text("SELECT 1", (2,))


# Servers that cannot write at the moment.


def test_offline_mode_makes_the_database_unavailable(store: Settings) -> None:
    if is_mariadb(store):
        pytest.skip("only MySQL has it")
    with user(store) as ordinary, Writer(ordinary, TOPIC) as writer:
        with global_variable(store, "offline_mode", "1"):
            with pytest.raises(DatabaseUnavailable):
                writer.commit(batch_of([SAMPLE]))
            with pytest.raises(DatabaseUnavailable, match=r"cannot take writes now: .*offline mode"):
                Writer(ordinary, TOPIC)
            assert "offline_mode is on" in doctor_check(store, "writing")[1]
        assert commit(ordinary, batch_of([SAMPLE])).stored == 1


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (3, DatabaseUnavailable, "cannot write its files now"),  # tmpdir is full
        (1206, DatabaseUnavailable, "has no room for more locks"),
        (1047, DatabaseUnavailable, "member of its cluster"),  # Galera
        (3100, DatabaseUnavailable, "member of its cluster"),  # group replication
        (3101, Contention, "met deadlocks or lock timeouts"),
        (1969, DatabaseUnavailable, "ran for too long"),
        (1598, UnknownDatabaseError, "raised an unknown error"),
        (6666, UnknownDatabaseError, "raised an unknown error"),
    ],
)
def test_a_failed_transaction_stores_nothing_and_the_next_commits(
    store: Settings, number: int, kind: type[OrderFlowError], words: str
) -> None:
    with Proxy(store.mysql_port, greeting=without_tls) as proxy:
        plain = msgspec.structs.replace(store, mysql_port=proxy.port)
        with Writer(plain, TOPIC, max_attempts=3) as writer:
            proxy.trap = Trap(b"INSERT INTO `orders_ledger`", mysql_error(number, "injected by the proxy"))
            with pytest.raises(kind, match=words):
                writer.commit(batch_of([SAMPLE, b"{"]))
            assert proxy.trap.hits
    assert select(store, "SELECT COUNT(*) FROM orders") == [(0,)]
    assert commit(store, batch_of([SAMPLE, b"{"])).stored == 1
    assert_consistent(store)


@pytest.mark.parametrize("number", [3, 1114, 3101, 1205, 3024])
def test_an_error_of_the_server_quarantines_no_row(store: Settings, number: int) -> None:
    with Proxy(store.mysql_port, greeting=without_tls) as proxy:
        plain = msgspec.structs.replace(store, mysql_port=proxy.port)
        with Writer(plain, TOPIC) as writer:
            proxy.trap = Trap(b"LOAD DATA", mysql_error(number, "injected by the proxy"))
            with pytest.raises((DatabaseUnavailable, Contention)):
                writer.commit(batch_of([SAMPLE]))
            assert proxy.trap.hits
    assert select(store, "SELECT COUNT(*) FROM orders_quarantine") == [(0,)]


def test_a_statement_that_ran_for_too_long_is_reported(store: Settings) -> None:
    limit = "max_statement_time = 0.1" if is_mariadb(store) else "max_execution_time = 100"
    slow = "SELECT COUNT(*) FROM orders a, information_schema.columns b, information_schema.columns c"
    with Connection(store) as connection:
        connection._cursor.execute(f"SET SESSION {limit}")
        with pytest.raises(DatabaseUnavailable, match="ran for too long"), connection.translate_errors():
            connection._cursor.execute(slow + ", information_schema.columns d WHERE SLEEP(0.01) = 0")
            connection._cursor.fetchall()


def test_a_table_altered_during_a_snapshot_is_contention(store: Settings) -> None:
    commit(store, batch_of([SAMPLE]))
    with snapshot.open_snapshot(store) as connection:
        execute(store, "ALTER TABLE orders ADD COLUMN note INT, ALGORITHM = COPY")
        with pytest.raises(Contention, match=r"1412"):
            snapshot.count_orders(connection)


# Statements that take longer than the client usually waits.


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let connections wait 1 s for an answer, unless their caller names another limit."""
    defaults = Connection.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "answer_timeout", 1)


@pytest.mark.usefixtures("impatient")
def test_the_audit_waits_for_long_statements(store: Settings) -> None:
    with Connection(store) as connection, pytest.raises(DatabaseUnavailable, match="does not answer"):
        connection.execute_text("SELECT SLEEP(1.5)")
    with snapshot.open_snapshot(store) as connection:
        assert connection.execute_text("SELECT SLEEP(1.5)").rows == [(0,)]


@pytest.mark.usefixtures("impatient")
def test_a_change_of_the_tables_may_take_long(store: Settings) -> None:
    execute(store, "DROP TABLE orders_adoption")
    waiting = "SELECT MAX(time) FROM information_schema.processlist WHERE info LIKE 'CREATE TABLE%orders_adoption%'"
    with raw_session(store) as session, ThreadPoolExecutor(1) as pool:
        session.cursor().execute("LOCK TABLES orders WRITE")
        change = pool.submit(schema.prepare, store)
        until(lambda: (select(store, waiting)[0][0] or 0) >= 2)
        session.cursor().execute("UNLOCK TABLES")
        assert [step.statement for step in change.result()] == ["create_adoption"]


# Servers whose configuration causes refusals.


def test_statement_based_binary_logs_are_reported(store: Settings) -> None:
    if not select(store, "SELECT @@GLOBAL.log_bin")[0][0]:
        pytest.skip("this server has no binary log")
    with global_variable(store, "binlog_format", "'STATEMENT'"), user(store) as ordinary:
        with pytest.raises(DatabaseRefused, match="has binlog_format STATEMENT") as refused:
            commit(ordinary, batch_of([SAMPLE]))
        assert "SET GLOBAL binlog_format = ROW" in refused.value.hint
        status, found, hint = doctor_check(ordinary, "binary log")
        assert (status, hint) == ("error", refused.value.hint) and "STATEMENT" in found
    assert commit(store, batch_of([SAMPLE])).stored == 1


def test_a_ledger_on_myisam_is_found_by_the_doctor(store: Settings) -> None:
    execute(store, "ALTER TABLE orders_ledger ENGINE = MyISAM")
    status, found, hint = doctor_check(store, "tables")
    assert status == "error" and "orders_ledger" in found and "ALTER TABLE `orders_ledger` ENGINE = InnoDB;" in hint
    execute(store, "ALTER TABLE `orders_ledger` ENGINE = InnoDB")
    assert doctor_check(store, "tables")[0] == "ok"


def test_the_doctor_names_triggers_and_read_only_servers(store: Settings) -> None:
    execute(store, "CREATE TRIGGER watch AFTER INSERT ON orders FOR EACH ROW SET @seen = 1")
    assert "watch of orders" in doctor_check(store, "triggers")[1]
    with global_variable(store, "read_only", "1"):
        status, found, hint = doctor_check(store, "writing")
        assert status == "warning" and "read_only is on" in found and "SET GLOBAL read_only = OFF;" in hint
    assert doctor_check(store, "writing")[0] == "ok"


# Unknown error numbers in the running sink.


@pytest.fixture
def proxied(settings: Settings) -> Iterator[tuple[Settings, Proxy]]:
    """Create a topic with an order, and put the server behind a proxy."""
    topics.get_or_create(settings)
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    producer.produce(settings.kafka_topic, numbered(1), b"key")
    producer.flush()
    with Proxy(settings.mysql_port, greeting=without_tls) as proxy:
        yield msgspec.structs.replace(settings, mysql_port=proxy.port), proxy


def _sink(settings: Settings, progress: list[Any], **limits: Any) -> None:
    Supervisor(settings, engine=DirectEngine(settings), once=True, on_progress=progress.append, **limits).run()


def test_an_unknown_error_is_retried_until_it_passes(proxied: tuple[Settings, Proxy]) -> None:
    settings, proxy = proxied
    progress: list[Any] = []
    proxy.trap = Trap(b"INSERT INTO `orders_ledger`", mysql_error(6666, "never seen"))

    def repair_later() -> None:
        until(lambda: sum(report.error == "UnknownDatabaseError" for report in progress) > 2)
        proxy.remove_faults()

    repairer = threading.Thread(target=repair_later)
    repairer.start()
    _sink(settings, progress)
    repairer.join()
    with Connection(settings) as connection:
        assert ledger.totals(ledger.read_entries(connection)) == (1, 0, 0)


@pytest.mark.parametrize("number", NO_LOCAL_INFILE)
def test_only_load_data_can_be_replaced_by_insert(proxied: tuple[Settings, Proxy], number: int) -> None:
    settings, proxy = proxied
    schema.prepare(settings)
    proxy.trap = Trap(b"INSERT INTO `orders_ledger`", mysql_error(number, "not allowed"))
    with pytest.raises((UnknownDatabaseError, DatabaseUnavailable), match="not allowed"):
        commit(settings, batch_of([SAMPLE]))


def test_an_unknown_error_that_persists_stops_the_sink(proxied: tuple[Settings, Proxy]) -> None:
    settings, proxy = proxied
    progress: list[Any] = []
    proxy.trap = Trap(b"INSERT INTO `orders_ledger`", mysql_error(6666, "never seen"))
    with pytest.raises(DatabaseRefused, match="raised an unknown error: never seen"):
        _sink(settings, progress, unknown_error_timeout=1.0)
    assert sum(report.error == "UnknownDatabaseError" for report in progress) > 1
    proxy.remove_faults()
    assert commit(settings, batch_of([])) == CommitResult()
