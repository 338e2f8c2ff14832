"""The tables: finds what is missing or differs, and adopts an existing table of orders.

Names are compared as the server compares them: case-insensitively if lower_case_table_names requires it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

from orderflow.contract import loader, patterns
from orderflow.contract.changes import changes
from orderflow.contract.definition import DEFAULT, STANDARD_FIELDS, Field, Kind
from orderflow.errors import (
    Contention,
    DatabaseRefused,
    DatabaseUnavailable,
    SchemaTooNew,
    TableDrifted,
)
from orderflow.settings import Settings
from orderflow.store import contracts, ledger, named_lock, statements, tables
from orderflow.store.connection import LONG_ANSWER_TIMEOUT, Connection, RowsRefusedError, row_errors
from orderflow.store.migrations import LATEST, Migration, before, former_names, pending
from orderflow.store.tables import TABLES, Column, Table, quoted

_PROVENANCE = {
    "kafka_partition": "INT NULL",
    "kafka_offset": "BIGINT NULL",
    "produced_at": "DATETIME(3) NULL",
    "stored_at": "DATETIME(6) NULL",
}
# After the first and before the last of these, the column's default is -1: the adoption is not finished.
_ADOPT = ("adopt_orders", "adopt_by_minute", "adopt_orders_default")
_VARCHAR = re.compile(r"varchar\((\d+)\) (\w+)")
_EXACT_COLLATION = re.compile(r".+_(bin|cs|cs_ks)|binary")  # distinguishes capital letters
_ONE_BYTE = 255  # bytes: longer texts have two bytes for their length
# A statement that changes a table waits for the transactions that use it, and all later statements wait behind it. So
# its wait is short, and it is retried.
TABLE_WAIT = 5  # seconds
TABLE_ATTEMPTS = 6
_TABLE_PAUSE = 1.0  # seconds
OTHER_PROCESS_WAIT = 60  # seconds
_CATALOGUE_READS = 20


class Step(NamedTuple):
    """A missing part: what it is, the name of the statement that creates it, and the statement's placeholders."""

    what: str
    statement: str
    placeholders: tuple[tuple[str, str], ...] = ()


def everything(settings: Settings) -> list[Step]:
    """Return what `prepare` would create on an empty server, in order."""
    names = statements.table_names(settings)
    database = Step(f"database {settings.mysql_database}", "create_database")
    steps = [database, *(_creation(table, names) for table in TABLES), _version(LATEST)]
    return [*steps, *_new_contract(settings, contracts.Versions({0: DEFAULT}))]


def missing(settings: Settings) -> list[Step]:
    """Return what `prepare` would create, in order.

    Raises TableDrifted if a table differs from what OrderFlow writes, SchemaTooNew if a newer version has changed the
    tables, and the connection's errors.
    """
    with Connection(settings, database=False) as connection:
        return _missing(connection, settings)


def stored_contracts(settings: Settings) -> contracts.Versions:
    """Return the contract versions of the tables; only the default contract if there are no tables.

    Raises TableDrifted, and the connection's errors.
    """
    with Connection(settings, database=False) as connection:
        [database] = as_server_names(connection, (settings.mysql_database,))
        if not connection.execute("select_database", {"database": database}).rows:
            return contracts.Versions({0: DEFAULT})
        return _read_catalogue(connection, settings).contracts


def check_active_sink(settings: Settings) -> None:
    """Raise ContractInvalid if a sink is active on these tables and topic, and this contract is none of their versions.

    The active sink may use a version that has no records yet.
    """
    with Connection(settings, database=False) as connection:
        if not ledger.has_active_sink(connection, settings):
            return
        found = _read_catalogue(connection, settings).contracts
        if found.find(loader.contract_of(settings)) is None:
            raise contracts.mismatch_error(settings, found, "Another sink is active, which uses another contract. ")


def prepare(
    settings: Settings,
    *,
    other_process_wait: int = OTHER_PROCESS_WAIT,
    table_wait: int = TABLE_WAIT,
    table_attempts: int = TABLE_ATTEMPTS,
) -> list[Step]:
    """Create what is missing, and return it. If several processes do so at the same time, one of them does the work.

    Each step is one statement. If a process ends between two steps, the next process continues. It waits
    `other_process_wait` seconds for another process, and `table_wait` seconds, `table_attempts` times, for a table.
    Raises what `missing` raises, DatabaseRefused if the user may not create something, and DatabaseUnavailable if
    another process or a transaction blocks it for too long.
    """
    if not missing(settings):
        return []
    with _lock(settings, other_process_wait):
        steps = missing(settings)
        for step in steps:
            _make(step, settings, table_wait, table_attempts)
    return steps


@contextmanager
def _lock(settings: Settings, seconds: int) -> Iterator[None]:
    """Wait up to `seconds` for the lock of the process that changes these tables, and hold it."""
    with Connection(settings, database=False) as connection:
        tables_ = f"{settings.mysql_database}.{settings.mysql_table}"
        name = named_lock.lock_name(connection, "orderflow schema", tables_)
        if not named_lock.acquire(connection, name, seconds):
            raise DatabaseUnavailable(
                f"Another process has been creating or changing the tables of {tables_} for {seconds} s.",
                hint="SHOW PROCESSLIST shows what it waits for.",
            )
        yield


def _make(step: Step, settings: Settings, table_wait: int, table_attempts: int) -> None:
    """Execute a step, unless another process has done it in the meantime."""
    database = step.statement != "create_database"
    with Connection(settings, database=database, answer_timeout=LONG_ANSWER_TIMEOUT) as connection:
        connection.execute("set_lock_wait", {"seconds": table_wait})
        try:
            with row_errors() if step.statement in _ADOPT else nullcontext():
                _execute_patiently(connection, step, table_attempts)
        except (DatabaseRefused, RowsRefusedError) as refused:
            if step not in missing(settings):
                return
            if isinstance(refused, DatabaseRefused):
                raise DatabaseRefused(
                    f"{step.what} is missing, and its statement failed: {refused.message}",
                    hint="Grant the user what is missing, or have another run what `orderflow init --dry-run` prints.",
                ) from refused
            if refused.statement_error:
                raise refused.statement_error from refused
            raise TableDrifted(
                f"The statement for {step.what} failed: {refused}.",
                hint=f"Rows of table {settings.mysql_table} have NULL in a column: correct or delete them.",
            ) from refused
        connection.commit()


def _execute_patiently(connection: Connection, step: Step, attempts: int) -> None:
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
        f"The statement for {step.what} has to wait, because transactions use the table: {waiting.message}",
        hint="SHOW PROCESSLIST shows them: a reader's long transaction, perhaps.",
    ) from waiting


def statement_of(step: Step, settings: Settings) -> str:
    """Return the step's SQL for a person to read or run. Statements after CREATE DATABASE apply to the new database."""
    then = ["use_database"] if step.statement == "create_database" else []
    return "\n".join(
        statements.sql(name, settings, **dict(step.placeholders)) + ";" for name in (step.statement, *then)
    )


class _Found(NamedTuple):
    """What the database has under the tables' names, each with its name from the settings."""

    engines: dict[str, str | None]  # None for a view
    columns: dict[str, dict[str, Column]]
    generated: dict[tuple[str, str], str]
    unique_keys: dict[str, dict[str, str]]
    defaults: dict[tuple[str, str], str | None]
    version: int  # 0 if none is recorded
    contracts: contracts.Versions


def _creation(table: Table, names: Mapping[str, str]) -> Step:
    return Step(f"{table.kind} {names[table.key]}", table.create)


def _version(number: int) -> Step:
    return Step(f"schema version {number}", "insert_schema_version", (("version", str(number)),))


def _new_contract(settings: Settings, found: contracts.Versions) -> list[Step]:
    """Return the step that adds the settings' contract to the versions, if it is new.

    Raises ContractInvalid if the tables cannot follow it.
    """
    contract = loader.contract_of(settings)
    if found.find(contract) is not None:
        return []
    impossible = [change for change in changes(found.last_used, contract) if change.fix]
    if impossible and found.is_used:
        hint = " ".join(dict.fromkeys(change.fix for change in impossible))
        raise contracts.mismatch_error(settings, found, hint=hint)
    contract_id = str(found.newest_id + 1)
    text = contracts.as_json(contract).encode().hex()
    values = (("contract_id", contract_id), ("contract", text))
    return [Step(f"contract version {contract_id}", "insert_contract", values)]


def _read_catalogue(connection: Connection, settings: Settings) -> _Found:
    """Read the catalogue until two reads agree: during a read, another process may change the tables.

    Raises DatabaseUnavailable.
    """
    found = _read_catalogue_once(connection, settings)
    for _ in range(_CATALOGUE_READS):
        before, found = found, _read_catalogue_once(connection, settings)
        if found == before:
            return found
    raise DatabaseUnavailable(
        f"The tables of {settings.mysql_database}.{settings.mysql_table} changed during each of"
        f" {_CATALOGUE_READS} reads of the catalogue.",
        hint="SHOW PROCESSLIST shows what changes them.",
    )


def _read_catalogue_once(connection: Connection, settings: Settings) -> _Found:
    names = [*statements.table_names(settings).values(), *former_names(settings)]
    asked = as_server_names(connection, (settings.mysql_database, *names))
    ours = {folded.lower(): name for folded, name in zip(asked[1:], names, strict=True)}
    placeholders = statements.placeholders_for(asked[1:])
    case = named_lock.ignores_case(connection)

    def rows(statement: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of OrderFlow's tables only: the server's own comparison may match more."""
        for table, *rest in connection.execute(statement, asked, tables=placeholders).rows:
            name = ours.get(table.lower())
            if name is not None and (case or table == name):
                yield name, *rest

    found = _Found(dict(rows("select_tables")), {}, {}, {}, {}, 0, contracts.Versions({0: DEFAULT}))
    for name, column, *shape, generated_by in rows("select_columns"):
        found.columns.setdefault(name, {})[column.lower()] = tables.found_column(shape)
        found.defaults[name, column.lower()] = shape[-1]
        if generated_by:
            found.generated[name, column.lower()] = generated_by
    for name, key, on in rows("select_unique_keys"):
        found.unique_keys.setdefault(name, {})[key] = on
    tables_ = statements.table_names(settings)
    if "version" in found.columns.get(tables_["schema"], {}):
        found = found._replace(version=int(connection.execute("select_schema_version").rows[0][0]))
    if "contract" in found.columns.get(tables_["contracts"], {}) and "contract_id" in found.columns.get(
        tables_["ledger"], {}
    ):
        found = found._replace(contracts=contracts.versions(connection))
    return found


def as_server_names(connection: Connection, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names as the server stores them in information_schema."""
    [(case,)] = connection.execute("select_name_case").rows
    return tuple(name.lower() if case == 1 else name for name in names)


def _missing(connection: Connection, settings: Settings) -> list[Step]:
    names = statements.table_names(settings)
    [database] = as_server_names(connection, (settings.mysql_database,))
    if not connection.execute("select_database", {"database": database}).rows:
        return everything(settings)
    found = _read_catalogue(connection, settings)
    if found.version > LATEST:
        raise SchemaTooNew(
            f"The tables of {settings.mysql_database}.{settings.mysql_table} have schema version {found.version}, and"
            f" this version of OrderFlow knows versions up to {LATEST}.",
            hint="Use the version of OrderFlow that changed the tables, or a newer one.",
        )
    new_contract = _new_contract(settings, found.contracts)
    needed = pending(settings, found.version, {name: found.columns.get(name, {}) for name in found.engines})
    renamed = {migration.new_name for migration in needed}
    absent = {table.key for table in TABLES if names[table.key] not in found.engines.keys() | renamed}
    steps = [_creation(table, names) for table in TABLES if table.key in absent]
    orders = names["orders"]
    if orders in found.engines:
        steps += _orders_table_steps(settings, orders, found)
    drifts: list[tuple[str, str]] = []
    whole = not any(table.key in absent for table in TABLES if table.kind == "table")
    for table in TABLES[1:]:
        # A view of a missing table shows no columns.
        if table.key not in absent and (whole or table.kind == "table"):
            drifts += _drifts(settings, table, found, needed)
    if drifts:
        raise TableDrifted(" ".join(what for what, _ in drifts), hint=" ".join(dict.fromkeys(fix for _, fix in drifts)))
    for migration in needed:
        steps += [Step(migration.what, migration.statement), _version(migration.number)]
    if found.version < LATEST and not (needed and needed[-1].number == LATEST):
        steps.append(_version(LATEST))
    steps += new_contract
    return sorted(steps, key=lambda step: step.statement == "create_adoption")


def _orders_table_steps(settings: Settings, name: str, found: _Found) -> list[Step]:
    """Return the steps that create what the orders table lacks.

    Raises TableDrifted.
    """
    columns, engine = found.columns[name], found.engines[name]
    adopt = not columns.keys() & _PROVENANCE.keys()
    if engine is None:
        raise TableDrifted(f"{settings.mysql_database}.{name} is a view.", hint="Name another table in MYSQL_TABLE.")
    shown = {column: shape.type for column, shape in columns.items()}
    for (table, column), by in found.generated.items():
        if table == name:
            shown[column] = f"generated as {by}"
    additions = _additions(settings, name, shown, found.contracts)
    columns_ = {field.name: field.column for field in loader.contract_of(settings).columns}
    keys = found.unique_keys.get(name, {})
    later = _later_columns(settings, found.contracts)
    differences = [*_differences(columns_, later, shown, adopt, engine, keys)]
    if "order_id" in columns and not any(what.startswith("column order_id ") for what, _ in differences):
        differences += _collation_difference(loader.contract_of(settings).by_name["order_id"], columns["order_id"])
    if differences:
        raise TableDrifted(
            f"Table {settings.mysql_database}.{name} is not the table of the orders: "
            + "; ".join(what for what, _ in differences)
            + ".",
            # One statement, because parts of it are impossible before the rest.
            hint=f"Fix it with: ALTER TABLE `{name}` {', '.join(fix for _, fix in differences)};"
            " Or name another table in MYSQL_TABLE.",
        )
    adopting = found.defaults.get((name, "kafka_partition")) == "-1"
    if not adopt and not adopting:
        return additions
    return additions + [Step(f"provenance of the rows in table {name}", step) for step in _ADOPT[adopting:]]


def _additions(settings: Settings, name: str, shown: dict[str, str], versions: contracts.Versions) -> list[Step]:
    """Return the step that adds missing columns.

    It also lengthens VARCHAR columns that the latest contract declares shorter. It updates `shown`,
    the columns' types, as the step does.
    """
    latest = versions.contracts[versions.newest_id].by_name
    what: list[str] = []
    parts: list[str] = []
    before = STANDARD_FIELDS[-1]
    for field in loader.contract_of(settings).columns:
        expected = _declared_type(field.type)
        if field.is_custom and field.name not in shown:
            what.append(field.name)
            parts.append(f"ADD COLUMN {statements.identifier(field)} {field.column} AFTER `{before}`")
        elif field.name in latest and _can_lengthen_in_place(
            _declared_type(latest[field.name].type), expected, shown.get(field.name)
        ):
            what.append(f"{field.name} ({field.type.split()[0]})")
            parts.append(f"MODIFY COLUMN {statements.identifier(field)} {field.column}")
        else:
            expected = shown.get(field.name, "")
        if expected:
            shown[field.name] = expected
        before = field.name if field.is_custom else before
    if not parts:
        return []
    columns = "columns" if len(parts) > 1 else "column"
    return [Step(f"{columns} {', '.join(what)} of table {name}", "change_orders", (("changes", ",\n  ".join(parts)),))]


def _can_lengthen_in_place(declared: str, expected: str, found: str | None) -> bool:
    """Whether the server can lengthen the column in place. The column must have the type `declared`.

    The server copies the table if the change takes the column from at most 255 bytes to more.
    """
    before, after = _VARCHAR.fullmatch(declared), _VARCHAR.fullmatch(expected)
    if not (before and after and before[2] == after[2] and found == declared):
        return False
    shorter, longer = (int(match[1]) * (1 if match[2] == "ascii" else 4) for match in (before, after))
    return shorter < longer and (shorter > _ONE_BYTE) == (longer > _ONE_BYTE)


def _drifts(settings: Settings, table: Table, found: _Found, needed: Sequence[Migration]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with one of the other tables or views, apart from needed migrations, and how to fix it."""
    names = statements.table_names(settings)
    name, versions = names[table.key], names["schema"]
    if table.kind == "table":
        name, wanted = before(name, tables.shape(statements.sql(table.create, settings)), needed)
    full, columns = f"{settings.mysql_database}.{name}", found.columns.get(name, {})
    is_view = found.engines[name] is None
    if is_view != (table.kind == "view"):
        kinds = ("view", "table") if is_view else ("table", "view")
        yield f"{full} is a {kinds[0]}, not a {kinds[1]}.", "Rename it, or name another table in MYSQL_TABLE."
    elif is_view:
        if (*columns,) != table.columns:
            expected = f"expected: {', '.join(table.columns)}."
            yield (
                f"View {full} has the columns {', '.join(columns)}; {expected}"
                if columns
                else f"View {full} has no columns; {expected}",
                f"Drop it, and the sink creates it again: DROP VIEW `{name}`;",
            )
    else:
        lacking = [column for column in wanted.columns if column not in columns]
        if lacking:
            yield (
                f"Table {full} lacks the columns {', '.join(lacking)}.",
                "It is not a table of this version of OrderFlow: move it away, or set another MYSQL_TABLE. If it is"
                f" from an older backup, empty {versions}, and `orderflow init` brings it up to date.",
            )
            return
        differing = list(tables.differences(wanted, columns, found.unique_keys.get(name, {})))
        if str(found.engines[name]).upper() != "INNODB":
            differing.insert(0, (f"its engine is {found.engines[name]}, not InnoDB", "ENGINE = InnoDB"))
        if differing:
            yield (
                f"Table {full} is not as OrderFlow writes it: {'; '.join(what for what, _ in differing)}.",
                f"Fix it with: ALTER TABLE `{name}` {', '.join(fix for _, fix in differing)};",
            )


def _later_columns(settings: Settings, versions: contracts.Versions) -> dict[str, str]:
    """Map the columns of later contract versions to their types. A sink may still use the older contract."""
    contract_id = versions.find(loader.contract_of(settings))
    return {
        field.name: _declared_type(field.type)
        for later, contract in versions.contracts.items()
        if contract_id is not None and later > contract_id
        for field in contract.columns
    }


def _differences(  # noqa: PLR0917
    columns: dict[str, str],
    later: dict[str, str],
    found: dict[str, str],
    adopt: bool,
    engine: str,
    keys: dict[str, str],
) -> Iterator[tuple[str, str]]:
    if engine.upper() != "INNODB":
        yield f"its engine is {engine}", "ENGINE = InnoDB"
    expected = {name: _declared_type(sql) for name, sql in columns.items()}
    for name, sql in columns.items():
        if name not in found:
            yield f"column {name} is missing", f"ADD COLUMN {quoted(name)} {sql}"
        elif not _fits(name, found[name], expected[name]) and found[name] != later.get(name):
            yield f"column {name} is {found[name]}, not {expected[name]}", f"MODIFY COLUMN {quoted(name)} {sql}"
    for name in found.keys() - expected.keys() - _PROVENANCE.keys() - later.keys():
        yield f"column {name} is unknown", f"DROP COLUMN {quoted(name)}"
    for name, sql in {} if adopt else _PROVENANCE.items():
        if name not in found:
            yield f"column {name} is missing", f"ADD COLUMN {name} {sql} INVISIBLE"
        elif found[name] != _declared_type(sql):
            yield f"column {name} is {found[name]}, not {_declared_type(sql)}", f"MODIFY COLUMN {name} {sql} INVISIBLE"
    if (primary := keys.get("PRIMARY")) is None:
        yield "it has no primary key", "ADD PRIMARY KEY (order_id)"
    elif primary != "order_id":
        yield f"its primary key is {primary}, not order_id", "DROP PRIMARY KEY, ADD PRIMARY KEY (order_id)"
    for name, on in keys.items():
        if name != "PRIMARY":
            yield f"key {name} makes {on} unique too", f"DROP INDEX {quoted(name)}"


def _collation_difference(order_id: Field, found: Column) -> Iterator[tuple[str, str]]:
    """Yield what is wrong if the ids of two orders can be equal for the server."""
    caseless = order_id.kind is Kind.INTEGER or (order_id.pattern and patterns.is_caseless(order_id.pattern))
    if not caseless and not _EXACT_COLLATION.fullmatch(found.collation or ""):
        yield (
            f"column order_id is compared by {found.collation}, so ids that differ only in capital letters are equal",
            f"MODIFY COLUMN {quoted(order_id.name)} {order_id.column}",
        )


def _declared_type(sql: str) -> str:
    """Return the type of a column's declaration, spelled like `tables.found_type`."""
    charset = re.search(r"CHARACTER SET (\w+)", sql)
    return sql.split(maxsplit=1)[0].lower() + (f" {charset[1]}" if charset else "")


def _fits(name: str, found: str, expected: str) -> bool:
    # Ids are ASCII, which every character set can hold. The other texts may have any character.
    return found.split(maxsplit=1)[0] == expected.split(maxsplit=1)[0] if name == "order_id" else found == expected
