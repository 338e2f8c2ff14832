"""The checks of `orderflow doctor`: this machine, Kafka, the database, the tables. No check changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import mysql.connector

from orderflow.cli.doctor import check_database, check_kafka, check_machine, check_tables
from orderflow.cli.doctor.checked_system import CheckedSystem, Result, Status
from orderflow.errors import OrderFlowError
from orderflow.settings import Settings
from orderflow.store import error_numbers

# Each check's name, the checks that it needs, and its function.
_CHECKS: list[tuple[str, tuple[str, ...], Callable[[CheckedSystem], Result]]] = [
    ("Python", (), check_machine.check_python),
    ("settings", (), check_machine.check_env_names),
    ("Spark", (), check_machine.check_spark),
    ("dashboard", (), check_machine.check_dashboard),
    ("Java", (), check_machine.check_java),
    ("jars", ("Spark",), check_machine.check_jars),
    ("MySQL client", (), check_machine.check_mysql_client),
    ("disk", (), check_machine.check_disk),
    ("Kafka", (), check_kafka.check_brokers),
    ("topic", ("Kafka",), check_kafka.check_topic),
    ("compaction", ("topic",), check_kafka.check_compaction),
    ("database", (), check_database.check_login),
    ("reader", ("database",), check_database.check_reader_login),
    ("version", ("database",), check_database.check_version),
    ("writing", ("database",), check_database.check_writing),
    ("binary log", ("database",), check_database.check_binary_log),
    ("packets", ("database",), check_database.check_packets),
    ("local_infile", ("database",), check_database.check_local_infile),
    ("sql_mode", ("database",), check_database.check_sql_mode),
    ("durability", ("database",), check_database.check_durability),
    ("clock", ("database",), check_database.check_clock),
    ("tables", ("database",), check_tables.check_schema),
    ("privileges", ("database",), check_tables.check_privileges),
    ("triggers", ("tables",), check_tables.check_triggers),
    ("indexes", ("tables",), check_tables.check_indexes),
    ("ledger", ("topic", "tables"), check_tables.check_ledger_positions),
]

_HINTS = {
    "Kafka": "Start it, or set KAFKA_BOOTSTRAP_SERVERS. If that is not set, `orderflow up` starts its own.",
    "database": "Start it, or set MYSQL_HOST and MYSQL_PORT. If MYSQL_HOST is not set, `orderflow up` starts its own.",
}


class Check(NamedTuple):
    """One line of the report."""

    name: str
    status: Status
    found: str
    hint: str = ""


def checks(settings: Settings) -> Iterator[Check]:
    """Run every check, in order. A check is skipped if one that it needs failed."""
    system = CheckedSystem(settings)
    done: dict[str, Check] = {}
    for name, needs, run_check in _CHECKS:
        failed = [need for need in needs if done[need].status != "ok"]
        if failed:
            done[name] = Check(name, "skipped", f"needs {' and '.join(failed)}")
        else:
            try:
                done[name] = Check(name, *run_check(system))
            except OrderFlowError as error:
                done[name] = Check(name, "error", error.message, error.hint or _hint(name, error))
        yield done[name]


def _hint(name: str, error: OrderFlowError) -> str:
    cause = error.__cause__
    if isinstance(cause, mysql.connector.Error) and not error_numbers.is_client_error(cause.errno):
        return "The server answers, but cannot be used now: see its error log, and repeat this command."
    return _HINTS.get(name, "")
