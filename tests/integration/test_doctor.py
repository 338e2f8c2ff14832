"""The doctor finds problems, suggests a fix for each, and changes nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from orderflow import topic
from orderflow.cli.doctor.checks import Check, checks
from orderflow.embedded.process import free_port
from orderflow.errors import TopicMissing
from orderflow.settings import Settings
from orderflow.store import ledger, schema, server
from orderflow.store.connection import Connection
from orderflow.store.server import Server
from orderflow.store.tables import TABLES
from tests.processes import run
from tests.sql import execute, select


def examine(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in checks(settings)}


def wrong(settings: Settings) -> dict[str, str]:
    """Return name and status of every check that is not ok."""
    return {name: check.status for name, check in examine(settings).items() if check.status != "ok"}


@pytest.fixture
def ready(settings: Settings) -> Settings:
    """Create topic and tables as the sink does."""
    info = topic.ensure(settings)
    schema.prepare(settings)
    with Connection(settings) as connection:
        ledger.open_partitions(connection, info.name, info.topic_id, dict.fromkeys(info.partitions, 0))
    return settings


@contextmanager
def user(settings: Settings, *privileges: str) -> Iterator[Settings]:
    """Create a user with only these privileges on the database."""
    name = f"user_{uuid.uuid4().hex[:12]}"
    server = msgspec.structs.replace(settings, mysql_database="mysql")
    execute(server, f"CREATE USER {name}@'%' IDENTIFIED BY 'secret'")
    try:
        if privileges:
            execute(server, f"GRANT {', '.join(privileges)} ON `{settings.mysql_database}`.* TO {name}@'%'")
        yield msgspec.structs.replace(settings, mysql_user=name, mysql_password="secret")
    finally:
        execute(server, f"DROP USER {name}@'%'")


@contextmanager
def variable(settings: Settings, name: str, value: str) -> Iterator[None]:
    """Set a global variable of the server while the block lasts."""
    ((before,),) = select(settings, f"SELECT @@GLOBAL.{name}")
    execute(settings, f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        execute(settings, f"SET GLOBAL {name} = {before!r}")


def test_where_all_is_well_it_says_so(ready: Settings, tmp_path: Path) -> None:
    found = run(ready, "doctor", cwd=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    assert {line.split()[0] for line in found.stdout.splitlines()} == {"ok"}
    as_json = run(ready, "doctor", "--json", cwd=tmp_path)
    shown = json.loads(as_json.stdout)
    assert (as_json.returncode, shown["healthy"]) == (0, True)
    assert len(shown["checks"]) == len(found.stdout.splitlines())


def test_on_a_new_machine_it_warns_and_makes_nothing(settings: Settings) -> None:
    found = examine(settings)
    assert {name: check.status for name, check in found.items() if check.status != "ok"} == {
        "topic": "warning",
        "tables": "warning",
        "privileges": "skipped",
        "triggers": "skipped",
        "indexes": "skipped",
        "ledger": "skipped",
    }
    assert "orderflow init" in found["topic"].hint and "orderflow init" in found["tables"].hint
    with pytest.raises(TopicMissing):
        topic.describe(settings)
    assert schema.missing(settings)[0].statement == "create_database"


def test_servers_that_do_not_answer_hide_nothing_else(tmp_path: Path) -> None:
    away = Settings(
        kafka_bootstrap_servers=f"127.0.0.1:{free_port()}",
        mysql_host="127.0.0.1",
        mysql_port=free_port(),
        mysql_password="the-password",
    )
    found = run(away, "doctor", "--json", cwd=tmp_path)
    assert found.returncode == 1
    assert "the-password" not in found.stdout
    status = {check["name"]: check["status"] for check in json.loads(found.stdout)["checks"]}
    assert (status.pop("Kafka"), status.pop("database")) == ("error", "error")
    assert {name for name, value in status.items() if value == "skipped"} == {
        *("topic", "reader", "version", "writing", "binary log", "packets", "local_infile", "sql_mode"),
        *("durability", "clock", "tables", "privileges", "triggers", "indexes", "ledger"),
    }
    hints = [check["hint"] for check in json.loads(found.stdout)["checks"] if check["status"] == "error"]
    assert all(hints)


def test_a_wrong_password_is_the_databases_error_alone(ready: Settings) -> None:
    found = examine(msgspec.structs.replace(ready, mysql_password="wrong"))
    assert (found["database"].status, found["Kafka"].status, found["topic"].status) == ("error", "ok", "ok")
    assert "MYSQL_PASSWORD" in found["database"].hint


def test_the_sinks_privileges_are_enough(ready: Settings) -> None:
    with user(ready, "SELECT", "INSERT", "UPDATE") as sink:
        assert wrong(sink) == {}


def test_what_the_user_may_not_do_is_named(ready: Settings) -> None:
    with user(ready, "SELECT", "INSERT") as reader:
        found = examine(reader)
        assert wrong(reader) == {"privileges": "error"}
        assert "UPDATE command denied" in found["privileges"].found
        assert "GRANT SELECT, INSERT, UPDATE" in found["privileges"].hint


def test_each_privilege_of_the_registry_is_checked(database: Settings) -> None:
    schema.prepare(database)
    before = [select(database, f"SELECT COUNT(*) FROM orders{table.suffix}") for table in TABLES]
    every = [(table, privilege) for table in TABLES for privilege in table.sink_privileges.split(", ")]
    with user(database) as sink:
        name = f"{sink.mysql_user}@'%'"
        for table, privilege in every:
            execute(database, f"GRANT {privilege} ON orders{table.suffix} TO {name}")
        assert list(server.refusals(sink)) == []
        for table, privilege in every:
            execute(database, f"REVOKE {privilege} ON orders{table.suffix} FROM {name}")
            refused = list(server.refusals(sink))
            assert refused and all("command denied" in one or "View" in one for one in refused), (table, privilege)
            execute(database, f"GRANT {privilege} ON orders{table.suffix} TO {name}")
    assert [select(database, f"SELECT COUNT(*) FROM orders{table.suffix}") for table in TABLES] == before


def test_it_asks_whether_missing_tables_can_be_made(ready: Settings) -> None:
    for table in ("orders", "orders_quarantine"):
        execute(ready, f"DROP TABLE {table}")
    with user(ready, "SELECT", "INSERT", "UPDATE") as sink:
        found = examine(sink)
        assert (found["tables"].status, found["privileges"].status) == ("warning", "error")
        assert "CREATE command denied" in found["privileges"].found
    with user(ready, "SELECT", "INSERT", "UPDATE", "CREATE") as sink:
        assert examine(sink)["privileges"].status == "ok"
    assert [step.statement for step in schema.missing(ready)] == ["create_orders", "create_quarantine"]


def test_a_drifted_table_comes_with_its_cure(ready: Settings) -> None:
    execute(ready, "ALTER TABLE orders MODIFY quantity BIGINT")
    found = examine(ready)
    assert (found["tables"].status, found["privileges"].status) == ("error", "skipped")
    assert "MODIFY COLUMN `quantity` INT NOT NULL" in found["tables"].hint


def test_lacking_indexes_come_with_their_cure(ready: Settings) -> None:
    execute(ready, "ALTER TABLE orders DROP INDEX idx_customer, DROP INDEX idx_timestamp")
    found = examine(ready)["indexes"]
    assert found.status == "warning"
    for statement in filter(None, found.hint.split(";")):
        execute(ready, statement)
    assert wrong(ready) == {}


@pytest.mark.parametrize(
    ("check", "name", "value"),
    [
        ("local_infile", "local_infile", "0"),
        ("durability", "innodb_flush_log_at_trx_commit", "2"),
    ],
)
def test_weak_settings_of_the_server_are_warnings(ready: Settings, check: str, name: str, value: str) -> None:
    with variable(ready, name, value):
        found = examine(ready)[check]
        assert found.status == "warning"
        assert f"SET GLOBAL {name}" in found.hint
    assert examine(ready)[check].status == "ok"


def test_a_wrong_clock_is_a_warning(ready: Settings) -> None:
    # The server runs init_connect only for users who are not administrators.
    with (
        variable(ready, "init_connect", "'SET timestamp = UNIX_TIMESTAMP() - 3600'"),
        user(ready, "SELECT", "INSERT", "UPDATE") as sink,
    ):
        assert wrong(sink) == {"clock": "warning"}
        assert "differ by 3,60" in examine(sink)["clock"].found


def test_a_topic_made_again_is_an_error(ready: Settings) -> None:
    admin = AdminClient(topic.client_config(ready))
    admin.delete_topics([ready.kafka_topic])[ready.kafka_topic].result()
    topic.ensure(ready)
    found = examine(ready)["ledger"]
    assert (found.status, "was deleted and created again" in found.found) == ("error", True)


def test_a_position_outside_of_the_topic_is_an_error(ready: Settings) -> None:
    execute(ready, "UPDATE orders_ledger SET next_offset = 7 WHERE kafka_partition = 1")
    found = examine(ready)["ledger"]
    assert found.status == "error"
    assert "partition 1 is accounted for up to offset 7, but holds 0 to 0" in found.found


@pytest.mark.parametrize(
    ("version", "is_mariadb", "release"),
    [
        ("9.7.4-2", False, (9, 7, 4)),
        ("8.0.22", False, (8, 0, 22)),
        ("11.4.5-MariaDB", True, (11, 4, 5)),
        ("10.6.18-MariaDB-0ubuntu0.22.04.1-log", True, (10, 6, 18)),
        ("unknown", False, ()),
    ],
)
def test_versions_are_read(version: str, is_mariadb: bool, release: tuple[int, ...]) -> None:
    server = Server(version, *[None] * 6)  # type: ignore[arg-type]
    assert (server.is_mariadb, server.release) == (is_mariadb, release)
