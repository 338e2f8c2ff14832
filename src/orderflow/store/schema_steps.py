"""The steps that create and change the tables. Each is one statement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from orderflow.contract import loader
from orderflow.contract.changes import changes
from orderflow.settings import Settings
from orderflow.store import contracts
from orderflow.store.migrations import Migration
from orderflow.store.tables import Table


class SchemaStep(NamedTuple):
    """A missing part: what it is, the name of the statement that creates it, and the statement's placeholders."""

    description: str
    statement: str
    placeholders: tuple[tuple[str, str], ...] = ()


def create_database(settings: Settings) -> SchemaStep:
    """Return the step that creates the database."""
    return SchemaStep(f"database {settings.mysql_database}", "create_database")


def create_table(table: Table, names: Mapping[str, str]) -> SchemaStep:
    """Return the step that creates the table or view; `names` are those of `statements.table_names`."""
    return SchemaStep(f"{table.kind} {names[table.key]}", table.create)


def migrate(migration: Migration) -> list[SchemaStep]:
    """Return the steps of a migration."""
    return [SchemaStep(migration.description, migration.statement), record_version(migration.number)]


def record_version(number: int) -> SchemaStep:
    """Return the step that records the version of the tables."""
    return SchemaStep(f"schema version {number}", "insert_schema_version", (("version", str(number)),))


def add_contract(settings: Settings, versions: contracts.Versions) -> list[SchemaStep]:
    """Return the step that adds the settings' contract to the versions, if it is new.

    Raises ContractInvalid if the tables cannot follow it.
    """
    contract = loader.contract_of(settings)
    if versions.find(contract) is not None:
        return []
    impossible = [change for change in changes(versions.last_used, contract) if change.fix]
    if impossible and versions.is_used:
        hint = " ".join(dict.fromkeys(change.fix for change in impossible))
        raise contracts.mismatch_error(settings, versions, hint=hint)
    contract_id = str(versions.newest_id + 1)
    text = contracts.as_json(contract).encode().hex()
    values = (("contract_id", contract_id), ("contract", text))
    return [SchemaStep(f"contract version {contract_id}", "insert_contract", values)]
