"""The tables: finds what is missing or differs, and creates it.

`orders_table` adopts an existing table of orders, and `table_definition` finds the differences of a table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from orderflow.contract import loader
from orderflow.contract.definition import DEFAULT
from orderflow.errors import (
    Contention,
    DatabaseRefused,
    DatabaseUnavailable,
    SchemaTooNew,
    TableDrifted,
)
from orderflow.settings import Settings
from orderflow.store import contracts, ledger, named_lock, orders_table, schema_steps, statements
from orderflow.store.connection import LONG_ANSWER_TIMEOUT, Connection, RowsRefused, translate_row_errors
from orderflow.store.information_schema import ExistingTables, has_database, read_tables
from orderflow.store.migrations import LATEST, Migration, definition_before, pending_migrations
from orderflow.store.schema_steps import SchemaStep
from orderflow.store.table_definition import Difference, differences, parse_table
from orderflow.store.tables import TABLES, Table

# A statement that changes a table waits for the transactions that use it, and all later statements wait behind it. So
# its wait is short, and it is retried.
TABLE_WAIT = 5  # seconds
TABLE_ATTEMPTS = 6
_TABLE_PAUSE = 1.0  # seconds
OTHER_PROCESS_WAIT = 60  # seconds


def all_steps(settings: Settings) -> list[SchemaStep]:
    """Return what `prepare` would create on an empty server, in order."""
    names = statements.table_names(settings)
    return [
        schema_steps.create_database(settings),
        *(schema_steps.create_table(table, names) for table in TABLES),
        schema_steps.record_version(LATEST),
        *schema_steps.add_contract(settings, contracts.Versions({0: DEFAULT})),
    ]


def missing_steps(settings: Settings) -> list[SchemaStep]:
    """Return what `prepare` would create, in order.

    Raises TableDrifted if a table differs from what OrderFlow writes, SchemaTooNew if a newer version has changed the
    tables, and the connection's errors.
    """
    with Connection(settings, database=False) as connection:
        if not has_database(connection, settings):
            return all_steps(settings)
        existing = read_tables(connection, settings)
    return _missing_steps(settings, existing)


def stored_contracts(settings: Settings) -> contracts.Versions:
    """Return the contract versions of the tables; only the default contract if there are no tables.

    Raises TableDrifted, and the connection's errors.
    """
    with Connection(settings, database=False) as connection:
        if not has_database(connection, settings):
            return contracts.Versions({0: DEFAULT})
        return read_tables(connection, settings).contracts


def check_active_sink(settings: Settings) -> None:
    """If a sink is active on these tables and topic, check that the tables have this contract as one of their versions.

    The active sink may use a version that has no records yet.
    Raises ContractInvalid.
    """
    with Connection(settings, database=False) as connection:
        if not ledger.has_active_sink(connection, settings):
            return
        versions = read_tables(connection, settings).contracts
        if versions.find(loader.contract_of(settings)) is None:
            raise contracts.mismatch_error(settings, versions, "Another sink is active and uses another contract. ")


def prepare(
    settings: Settings,
    *,
    other_process_wait: int = OTHER_PROCESS_WAIT,
    table_wait: int = TABLE_WAIT,
    table_attempts: int = TABLE_ATTEMPTS,
) -> list[SchemaStep]:
    """Create what is missing, and return it. If several processes do so at the same time, one of them does the work.

    Each step is one statement. If a process ends between two steps, the next process continues. It waits
    `other_process_wait` seconds for another process, and `table_wait` seconds, `table_attempts` times, for a table.

    Raises what `missing_steps` raises.
    Raises DatabaseRefused if the user may not create something.
    Raises DatabaseUnavailable if another process or a transaction blocks it for too long.
    """
    if not missing_steps(settings):
        return []
    with _lock(settings, other_process_wait):
        steps = missing_steps(settings)
        for step in steps:
            _execute_step(step, settings, table_wait, table_attempts)
    return steps


def statement_of(step: SchemaStep, settings: Settings) -> str:
    """Return the step's SQL for a person to read or run. Statements after CREATE DATABASE apply to the new database."""
    then = ["use_database"] if step.statement == "create_database" else []
    return "\n".join(
        statements.sql(name, settings, **dict(step.placeholders)) + ";" for name in (step.statement, *then)
    )


@contextmanager
def _lock(settings: Settings, seconds: int) -> Iterator[None]:
    """Wait up to `seconds` for the lock of the process that changes these tables, and hold it."""
    with Connection(settings, database=False) as connection:
        tables_name = f"{settings.mysql_database}.{settings.mysql_table}"
        name = named_lock.lock_name(connection, "orderflow schema", tables_name)
        if not named_lock.acquire(connection, name, seconds):
            raise DatabaseUnavailable(
                f"Another process has been creating or changing the tables of {tables_name} for {seconds} s.",
                hint="SHOW PROCESSLIST shows what it waits for.",
            )
        yield


def _execute_step(step: SchemaStep, settings: Settings, table_wait: int, table_attempts: int) -> None:
    """Execute a step, unless another process has done it in the meantime."""
    database = step.statement != "create_database"
    with Connection(settings, database=database, answer_timeout=LONG_ANSWER_TIMEOUT) as connection:
        connection.execute("set_lock_wait", {"seconds": table_wait})
        try:
            with translate_row_errors() if step.statement in orders_table.ADOPTION else nullcontext():
                _execute_with_retries(connection, step, table_attempts)
        except (DatabaseRefused, RowsRefused) as refused:
            if step not in missing_steps(settings):
                return
            if isinstance(refused, DatabaseRefused):
                raise DatabaseRefused(
                    f"{step.description} is missing, and its statement failed: {refused.message}",
                    hint="Grant the missing privilege, or let an administrator run the SQL of"
                    " `orderflow init --dry-run`.",
                ) from refused
            if refused.statement_error:
                raise refused.statement_error from refused
            raise TableDrifted(
                f"The statement for {step.description} failed: {refused}.",
                hint=f"Rows of table {settings.mysql_table} have NULL in a column: correct or delete them.",
            ) from refused
        connection.commit()


def _execute_with_retries(connection: Connection, step: SchemaStep, attempts: int) -> None:
    for attempt in range(attempts):
        if attempt:
            time.sleep(_TABLE_PAUSE)
        try:
            connection.execute(step.statement, **dict(step.placeholders))
        except Contention as error:
            waiting = error
        else:
            return
    raise DatabaseUnavailable(
        f"The statement for {step.description} has to wait, because transactions use the table: {waiting.message}",
        hint="SHOW PROCESSLIST lists them. End the long transaction, for example a reader's.",
    ) from waiting


def _missing_steps(settings: Settings, existing: ExistingTables) -> list[SchemaStep]:
    if existing.schema_version > LATEST:
        raise SchemaTooNew(
            f"The tables of {settings.mysql_database}.{settings.mysql_table} have schema version"
            f" {existing.schema_version}, and this version of OrderFlow supports versions up to {LATEST}.",
            hint="Use the version of OrderFlow that changed the tables, or a newer one.",
        )
    new_contract = schema_steps.add_contract(settings, existing.contracts)
    columns = {name: table.columns for name, table in existing.tables.items()}
    migrations = pending_migrations(settings, existing.schema_version, columns)
    names = statements.table_names(settings)
    present = existing.tables.keys() | {migration.new_name for migration in migrations}
    absent = [table for table in TABLES if names[table.key] not in present]
    steps = [schema_steps.create_table(table, names) for table in absent]
    if names["orders"] in existing.tables:
        steps += orders_table.missing_parts(settings, names["orders"], existing)
    _check_other_tables(settings, existing, absent, migrations)
    for migration in migrations:
        steps += schema_steps.migrate(migration)
    if existing.schema_version < LATEST and not (migrations and migrations[-1].number == LATEST):
        steps.append(schema_steps.record_version(LATEST))
    steps += new_contract
    return sorted(steps, key=lambda step: step.statement == "create_adoption")


def _check_other_tables(
    settings: Settings, existing: ExistingTables, absent: Sequence[Table], migrations: Sequence[Migration]
) -> None:
    """Check all tables and views except the orders table and those that are absent.

    Raises TableDrifted.
    """
    can_check_views = all(table.kind == "view" for table in absent)  # a view of a missing table shows no columns
    drifts = [
        drift
        for table in TABLES[1:]
        if table not in absent and (can_check_views or table.kind == "table")
        for drift in _drifts(settings, table, existing, migrations)
    ]
    if drifts:
        fixes = dict.fromkeys(drift.fix for drift in drifts)
        raise TableDrifted(" ".join(drift.description for drift in drifts), hint=" ".join(fixes))


def _drifts(
    settings: Settings, table: Table, existing: ExistingTables, migrations: Sequence[Migration]
) -> Iterator[Difference]:
    """Yield what is wrong with the table or view, apart from needed migrations, and how a person fixes it."""
    names = statements.table_names(settings)
    name = names[table.key]
    if table.kind == "table":
        name, definition = definition_before(name, parse_table(statements.sql(table.create, settings)), migrations)
    full_name, existing_table = f"{settings.mysql_database}.{name}", existing.tables[name]
    columns = existing_table.columns
    is_view = existing_table.engine is None
    if is_view != (table.kind == "view"):
        kinds = ("view", "table") if is_view else ("table", "view")
        yield Difference(
            f"{full_name} is a {kinds[0]}, not a {kinds[1]}.", "Rename it, or name another table in MYSQL_TABLE."
        )
    elif is_view:
        if (*columns,) != table.columns:
            expected = f"expected: {', '.join(table.columns)}."
            yield Difference(
                f"View {full_name} has the columns {', '.join(columns)}; {expected}"
                if columns
                else f"View {full_name} has no columns; {expected}",
                f"Drop it, and the sink creates it again: DROP VIEW `{name}`;",
            )
    elif lacking := [column for column in definition.columns if column not in columns]:
        yield Difference(
            f"Table {full_name} lacks the columns {', '.join(lacking)}.",
            "It is not a table of this version of OrderFlow: rename it, or set another MYSQL_TABLE. If it is"
            f" from an older backup, delete all rows of {names['schema']}, then run `orderflow init`.",
        )
    elif drift := [*differences(definition, existing_table)]:
        yield Difference(
            f"Table {full_name} differs from the table that OrderFlow creates:"
            f" {'; '.join(difference.description for difference in drift)}.",
            f"Fix it with: ALTER TABLE `{name}` {', '.join(difference.fix for difference in drift)};",
        )
