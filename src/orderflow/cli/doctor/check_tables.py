"""The checks of OrderFlow's tables: schema, privileges, triggers, indexes, and the ledger against the topic."""

from __future__ import annotations

from orderflow import topic
from orderflow.cli.doctor.checked_system import CheckedSystem, Result
from orderflow.errors import SchemaTooNew, TableDrifted
from orderflow.plurals import counted
from orderflow.positions.ledger_status import OLDER_END_HINT, describe_older_end
from orderflow.store import ledger, server
from orderflow.store.connection import Connection
from orderflow.store.tables import TABLES

_CREATE_TABLE = {table.create for table in TABLES if table.kind == "table"}


def check_schema(system: CheckedSystem) -> Result:
    if steps := system.missing_steps:
        return (
            "warning",
            f"missing: {', '.join(step.description for step in steps)}",
            "The sink creates them at start; `orderflow init --dry-run` shows the SQL.",
        )
    return (
        "ok",
        f"{system.settings.mysql_database}.{system.settings.mysql_table} and OrderFlow's other tables are correct",
    )


def check_privileges(system: CheckedSystem) -> Result:
    try:
        statements = [step.statement for step in system.missing_steps]
    except (TableDrifted, SchemaTooNew):
        return "skipped", "needs tables"
    if "create_database" in statements:
        return "skipped", "needs the database"
    tables = [name for name in statements if name in _CREATE_TABLE]
    if statements and not tables:
        return "skipped", "needs tables"
    if refused := list(server.refused_statements(system.settings, tables)):
        database, user = system.settings.mysql_database, system.settings.mysql_user
        return (
            "error",
            refused[0] + (f" Also refused: {counted(len(refused) - 1, 'statement')}." if refused[1:] else ""),
            f"GRANT SELECT, INSERT, UPDATE, CREATE, ALTER, CREATE VIEW, DROP ON `{database}`.* TO '{user}'@'…';",
        )
    return (
        "ok",
        f"user {system.settings.mysql_user} may {'create the tables' if tables else 'do what the sink needs'}",
    )


def check_triggers(system: CheckedSystem) -> Result:
    if triggers := server.triggers(system.settings):
        return (
            "warning",
            f"triggers: {', '.join(triggers)}. Orders that they refuse go to the quarantine; the audit reports"
            " values that they change",
            "Drop them if nobody needs them.",
        )
    return "ok", "none that this user can see"


def check_indexes(system: CheckedSystem) -> Result:
    if absent := server.missing_indexes(system.settings):
        return "warning", "the orders table lacks indexes: queries will be slow", " ".join(absent)
    return "ok", "customer_id and order_timestamp are indexed"


def check_ledger_positions(system: CheckedSystem) -> Result:
    topic_info = system.topic_info
    with Connection(system.settings) as connection:
        entries = ledger.read_entries(connection, topic_info.name)
    if not entries:
        return "ok", f"no record of {topic_info.name} is stored yet: the sink starts at the first one"
    ledger.check_topic_id(topic_info.name, topic_info.topic_id, entries[0].topic_id)
    bounds = topic.bounds(system.settings, topic_info.partitions)
    for entry in entries:
        first, end = bounds.get(entry.partition, (0, 0))
        if entry.next_offset < first:
            return (
                "error",
                f"{topic_info.name} partition {entry.partition} begins at offset {first}, after the ledger's position"
                f" {entry.next_offset}: records were removed before they were stored",
                "`orderflow accept-loss` shows them.",
            )
        if entry.next_offset > end:
            return (
                "error",
                describe_older_end(topic_info.name, entry.partition, end, entry.next_offset),
                OLDER_END_HINT,
            )
    lag = sum(bound.end for bound in bounds.values()) - sum(entry.next_offset for entry in entries)
    return "ok", f"its positions are within the topic; {counted(lag, 'offset')} not accounted for yet"
