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
from orderflow.embedded.ports import free_port
from orderflow.errors import TopicMissing
from orderflow.settings import Settings
from orderflow.store import ledger, schema, server
from orderflow.store.connection import Connection
from orderflow.store.server import Server
from orderflow.store.tables import TABLES
from tests.support.processes import run
from tests.support.records import configure_topic, delete_topic
from tests.support.sql import execute, select


def examine(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in checks(settings)}


def findings(settings: Settings) -> dict[str, str]:
    """Return name and status of every check that is not ok."""
    return {name: check.status for name, check in examine(settings).items() if check.status != "ok"}


@pytest.fixture
def ready(settings: Settings) -> Settings:
    """Create topic and tables as the sink does."""
    info = topic.get_or_create(settings)
    schema.prepare(settings)
    with Connection(settings) as connection:
        ledger.ensure_partitions(connection, info.name, info.topic_id, dict.fromkeys(info.partitions, 0))
    return settings


@contextmanager
def user(settings: Settings, *privileges: str) -> Iterator[Settings]:
    """Create a user with only these privileges on the database."""
    name = f"user_{uuid.uuid4().hex[:12]}"
    server_settings = msgspec.structs.replace(settings, mysql_database="mysql")
    execute(server_settings, f"CREATE USER {name}@'%' IDENTIFIED BY 'secret'")
    try:
        if privileges:
            execute(server_settings, f"GRANT {', '.join(privileges)} ON `{settings.mysql_database}`.* TO {name}@'%'")
        yield msgspec.structs.replace(settings, mysql_user=name, mysql_password="secret")
    finally:
        execute(server_settings, f"DROP USER {name}@'%'")


@contextmanager
def variable(settings: Settings, name: str, value: str) -> Iterator[None]:
    """Set a global variable of the server while the block lasts."""
    ((before,),) = select(settings, f"SELECT @@GLOBAL.{name}")
    execute(settings, f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        execute(settings, f"SET GLOBAL {name} = {before!r}")


def test_a_healthy_system_passes_every_check(ready: Settings, tmp_path: Path) -> None:
    result = run(ready, "doctor", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert {line.split()[0] for line in result.stdout.splitlines()} == {"ok"}
    as_json = run(ready, "doctor", "--json", cwd=tmp_path)
    shown = json.loads(as_json.stdout)
    assert (as_json.returncode, shown["healthy"]) == (0, True)
    assert len(shown["checks"]) == len(result.stdout.splitlines())


def test_on_a_new_machine_it_warns_and_creates_nothing(settings: Settings) -> None:
    results = examine(settings)
    assert {name: check.status for name, check in results.items() if check.status != "ok"} == {
        "topic": "warning",
        "compaction": "skipped",
        "tables": "warning",
        "privileges": "skipped",
        "triggers": "skipped",
        "indexes": "skipped",
        "ledger": "skipped",
    }
    assert "orderflow init" in results["topic"].hint and "orderflow init" in results["tables"].hint
    with pytest.raises(TopicMissing):
        topic.describe(settings)
    assert schema.missing_steps(settings)[0].statement == "create_database"


def test_servers_that_do_not_answer_hide_no_other_finding(tmp_path: Path) -> None:
    unavailable = Settings(
        kafka_bootstrap_servers=f"127.0.0.1:{free_port()}",
        mysql_host="127.0.0.1",
        mysql_port=free_port(),
        mysql_password="the-password",
    )
    result = run(unavailable, "doctor", "--json", cwd=tmp_path)
    assert result.returncode == 1
    assert "the-password" not in result.stdout
    status = {check["name"]: check["status"] for check in json.loads(result.stdout)["checks"]}
    assert (status.pop("Kafka"), status.pop("database")) == ("error", "error")
    assert {name for name, value in status.items() if value == "skipped"} == {
        *("topic", "compaction", "reader", "version", "writing", "binary log", "packets", "local_infile", "sql_mode"),
        *("durability", "clock", "tables", "privileges", "triggers", "indexes", "ledger"),
    }
    hints = [check["hint"] for check in json.loads(result.stdout)["checks"] if check["status"] == "error"]
    assert all(hints)


def test_a_wrong_password_is_an_error_of_the_database_only(ready: Settings) -> None:
    results = examine(msgspec.structs.replace(ready, mysql_password="wrong"))
    assert (results["database"].status, results["Kafka"].status, results["topic"].status) == ("error", "ok", "ok")
    assert "MYSQL_PASSWORD" in results["database"].hint


def test_the_sinks_privileges_are_enough(ready: Settings) -> None:
    with user(ready, "SELECT", "INSERT", "UPDATE") as sink:
        assert findings(sink) == {}


def test_a_missing_privilege_is_named(ready: Settings) -> None:
    with user(ready, "SELECT", "INSERT") as reader:
        results = examine(reader)
        assert findings(reader) == {"privileges": "error"}
        assert "UPDATE command denied" in results["privileges"].found
        assert "GRANT SELECT, INSERT, UPDATE" in results["privileges"].hint


def test_each_privilege_of_the_registry_is_checked(database: Settings) -> None:
    schema.prepare(database)
    before = [select(database, f"SELECT COUNT(*) FROM orders{table.suffix}") for table in TABLES]
    all_privileges = [(table, privilege) for table in TABLES for privilege in table.sink_privileges.split(", ")]
    with user(database) as sink:
        name = f"{sink.mysql_user}@'%'"
        for table, privilege in all_privileges:
            execute(database, f"GRANT {privilege} ON orders{table.suffix} TO {name}")
        assert list(server.refused_statements(sink)) == []
        for table, privilege in all_privileges:
            execute(database, f"REVOKE {privilege} ON orders{table.suffix} FROM {name}")
            refused = list(server.refused_statements(sink))
            assert refused and all("command denied" in refusal or "View" in refusal for refusal in refused), (
                table,
                privilege,
            )
            execute(database, f"GRANT {privilege} ON orders{table.suffix} TO {name}")
    assert [select(database, f"SELECT COUNT(*) FROM orders{table.suffix}") for table in TABLES] == before


def test_the_privilege_to_create_missing_tables_is_checked(ready: Settings) -> None:
    for table in ("orders", "orders_quarantine"):
        execute(ready, f"DROP TABLE {table}")
    with user(ready, "SELECT", "INSERT", "UPDATE") as sink:
        results = examine(sink)
        assert (results["tables"].status, results["privileges"].status) == ("warning", "error")
        assert "CREATE command denied" in results["privileges"].found
    with user(ready, "SELECT", "INSERT", "UPDATE", "CREATE") as sink:
        assert examine(sink)["privileges"].status == "ok"
    assert [step.statement for step in schema.missing_steps(ready)] == ["create_orders", "create_quarantine"]


def test_a_drifted_table_is_an_error_with_its_fix(ready: Settings) -> None:
    execute(ready, "ALTER TABLE orders MODIFY quantity BIGINT")
    results = examine(ready)
    assert (results["tables"].status, results["privileges"].status) == ("error", "skipped")
    assert "MODIFY COLUMN `quantity` INT NOT NULL" in results["tables"].hint


def test_missing_indexes_are_a_warning_with_their_fix(ready: Settings) -> None:
    execute(ready, "ALTER TABLE orders DROP INDEX idx_customer, DROP INDEX idx_timestamp")
    result = examine(ready)["indexes"]
    assert result.status == "warning"
    for statement in filter(None, result.hint.split(";")):
        execute(ready, statement)
    assert findings(ready) == {}


@pytest.mark.parametrize(
    ("check", "name", "value"),
    [
        ("local_infile", "local_infile", "0"),
        ("durability", "innodb_flush_log_at_trx_commit", "2"),
    ],
)
def test_weak_settings_of_the_server_are_warnings(ready: Settings, check: str, name: str, value: str) -> None:
    with variable(ready, name, value):
        result = examine(ready)[check]
        assert result.status == "warning"
        assert f"SET GLOBAL {name}" in result.hint
    assert examine(ready)[check].status == "ok"


def test_a_wrong_clock_is_a_warning(ready: Settings) -> None:
    # The server runs init_connect only for users who are not administrators.
    with (
        variable(ready, "init_connect", "'SET timestamp = UNIX_TIMESTAMP() - 3600'"),
        user(ready, "SELECT", "INSERT", "UPDATE") as sink,
    ):
        assert findings(sink) == {"clock": "warning"}
        assert "differ by 3,60" in examine(sink)["clock"].found


def test_a_recreated_topic_is_an_error(ready: Settings) -> None:
    admin = AdminClient(topic.client_config(ready))
    admin.delete_topics([ready.kafka_topic])[ready.kafka_topic].result()
    topic.get_or_create(ready)
    result = examine(ready)["ledger"]
    assert (result.status, "was deleted and created again" in result.found) == ("error", True)


def test_a_compacted_topic_is_an_error(ready: Settings) -> None:
    configure_topic(ready, "cleanup.policy", "compact")
    found = examine(ready)["compaction"]
    assert (found.status, "has cleanup.policy=compact" in found.found) == ("error", True)
    assert "cleanup.policy=delete" in found.hint


def test_a_position_outside_of_the_topic_is_an_error(ready: Settings) -> None:
    execute(ready, "UPDATE orders_ledger SET next_offset = 7 WHERE kafka_partition = 1")
    result = examine(ready)["ledger"]
    assert result.status == "error"
    assert "partition 1 ends at offset 0, before the ledger's position 7: Kafka is recovering, or has" in result.found
    assert "another MYSQL_TABLE" in result.hint
    execute(ready, "UPDATE orders_ledger SET next_offset = -1 WHERE kafka_partition = 1")
    result = examine(ready)["ledger"]
    assert "partition 1 begins at offset 0, after the ledger's position -1: records were removed" in result.found
    assert (result.status, result.hint) == ("error", "`orderflow accept-loss` shows them.")


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
def test_versions_are_parsed(version: str, is_mariadb: bool, release: tuple[int, ...]) -> None:
    server = Server(version, *[None] * 6)  # type: ignore[arg-type]
    assert (server.is_mariadb, server.release) == (is_mariadb, release)


def test_a_deleted_topic_is_not_created_again(stored: Settings, tmp_path: Path) -> None:
    delete_topic(stored)
    found = examine(stored)["topic"]
    assert found.status == "error" and "although the ledger has positions in it" in found.found
    assert "MYSQL_TABLE" in found.hint
    for arguments in (["init"], ["init", "--dry-run"], ["accept-loss"], ["audit"]):
        result = run(stored, *arguments, cwd=tmp_path)
        assert result.returncode == 2 and "although the ledger has positions in it" in result.stderr
        assert "orderflow init" not in result.stdout + result.stderr


def test_a_topic_that_was_created_again_is_not_ready(stored: Settings, tmp_path: Path) -> None:
    delete_topic(stored)
    topic.create(stored)
    for arguments in (["init"], ["init", "--dry-run"]):
        result = run(stored, *arguments, cwd=tmp_path)
        assert result.returncode == 2 and "was deleted and created again" in result.stderr
        assert "Ready" not in result.stdout
