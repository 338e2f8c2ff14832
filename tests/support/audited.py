"""Databases that are filled once for many tests of the audit, and the figures of its reports."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

import msgspec
import pytest

from orderflow import audit
from orderflow.audit.report import FindingKind
from orderflow.contract.definition import DEFAULT
from orderflow.settings import Settings
from tests.support.records import delete_topic, order, send, store
from tests.support.sql import execute, select

TABLES = (
    *("orders", "orders_ledger", "orders_quarantine", "orders_quarantine_chunks"),
    *("orders_losses", "orders_by_minute", "orders_adoption", "orders_audits"),
    *("orders_contracts", "orders_contract_starts"),
)
COLUMNS = {field.name: field.sql_definition for field in DEFAULT.fields}
NO_FINDINGS = dict.fromkeys(get_args(FindingKind), 0)


def counts(report: audit.Report) -> tuple[int, int, int, int]:
    """Return the numbers of records by outcome. Check that each record has one."""
    assert report.records == report.stored + report.duplicates + report.quarantined + sum(
        report.counts[kind] for kind in ("missing", "different")
    )
    return report.records, report.stored, report.duplicates, report.quarantined


def fill(settings: Settings) -> None:
    """Send and store nine records: five stored (two of them in partition 1), a duplicate, a conflict, two malformed."""
    send(settings, [order(1), order(2), order(3), b"{", order(1)])
    send(settings, [order(4), order(5), order(4, quantity=1, total_price=45.99), None], partition=1, key=None)
    store(settings)


def created_once(request: pytest.FixtureRequest, kafka: str, fill: Callable[[Settings], None]) -> Iterator[Settings]:
    """Yield settings of a database filled by `fill`, with a copy of each table, from which `restore` restores it.

    For a fixture with the parameters mysql and mariadb.
    """
    server: Settings = request.getfixturevalue(f"{request.param}_server")
    name = f"audit_{uuid.uuid4().hex[:12]}"
    settings = msgspec.structs.replace(server, mysql_database=name, kafka_bootstrap_servers=kafka, kafka_topic=name)
    fill(settings)
    for table in TABLES:
        execute(settings, f"CREATE TABLE copy_of_{table} LIKE {table}")
        _copy(settings, table, f"copy_of_{table}")
    yield settings
    execute(settings, f"DROP DATABASE {name}")
    delete_topic(settings)


def restore(settings: Settings, tables: Sequence[str] = TABLES) -> None:
    """Restore the rows of these tables from their copies."""
    for table in tables:
        execute(settings, f"DELETE FROM {table}")
        _copy(settings, f"copy_of_{table}", table)


def column_names(settings: Settings, table: str) -> list[str]:
    """Return the names of all columns of the table or view, including the invisible ones."""
    names = select(
        settings,
        "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE()"
        f" AND table_name = '{table}' ORDER BY ordinal_position",
    )
    return [name for (name,) in names]


def _copy(settings: Settings, source: str, target: str) -> None:
    names = ", ".join(f"`{name}`" for name in column_names(settings, source))
    execute(settings, f"INSERT INTO {target} ({names}) SELECT {names} FROM {source}")
