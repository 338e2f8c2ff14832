"""The contract's versions: which one holds from which offset of each partition.

A version is a row of the table of contracts, and its number is the contract_id; version 0, the default contract, has no
row. The transaction that first stores a partition's records with another version records the offset. So the audit can
read each record by the contract of its time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from orderflow.contract import loader
from orderflow.contract.changes import changes
from orderflow.contract.definition import DEFAULT, Contract
from orderflow.errors import ContractInvalid, RestartRequired, TableDrifted
from orderflow.settings import Settings
from orderflow.store.connection import Connection
from orderflow.store.statements import table_names

ContractStarts = Mapping[tuple[str, int], list[tuple[int, int]]]


class Versions(NamedTuple):
    """All versions by id, the highest one with which records were stored, and whether there are such records."""

    contracts: Mapping[int, Contract]
    last_used_id: int = 0
    is_used: bool = False

    @property
    def newest_id(self) -> int:
        """The id of the newest version."""
        return max(self.contracts)

    @property
    def last_used(self) -> Contract:
        """The contract with which the last records were stored."""
        return self.contracts.get(self.last_used_id, self.contracts[self.newest_id])

    def find(self, contract: Contract) -> int | None:
        """Return the id of this contract.

        None if there is no equal version, or if all equal versions are older than the last used one.
        """
        ids = [
            contract_id
            for contract_id, version in self.contracts.items()
            if version == contract.without_documentation and contract_id >= self.last_used_id
        ]
        return max(ids, default=None)


def read_versions(connection: Connection) -> Versions:
    """Return the versions of these tables.

    Raises TableDrifted if a stored contract cannot be read.
    """
    contracts_by_id = {0: DEFAULT}
    for contract_id, text in connection.execute("select_contracts").rows:
        try:
            if contract_id < 1:
                raise msgspec.ValidationError("versions begin with 1")
            contracts_by_id[contract_id] = msgspec.json.decode(text, type=Contract)
        except msgspec.DecodeError as error:
            table = table_names(connection.settings)["contracts"]
            raise TableDrifted(
                f"Row {contract_id} of table {table} is not a contract: {error}.",
                hint="It was changed by hand. Restore it from a backup.",
            ) from None
    [(last_used_id, records)] = connection.execute("select_active_contract").rows
    return Versions(contracts_by_id, last_used_id, records > 0)


def current_id(connection: Connection) -> int:
    """Return the id of the contract version that the connection's settings name.

    Raises ContractInvalid if records were stored with a later contract.
    Raises RestartRequired if these tables do not have the contract, as after the restoration of a backup: the next
    start adds it.
    """
    stored, contract = read_versions(connection), loader.contract_of(connection.settings)
    connection.rollback()  # the next SELECT must not use this one's snapshot
    contract_id = stored.find(contract)
    if contract_id is not None:
        return contract_id
    if any(change.fix for change in changes(stored.last_used, contract)):
        raise mismatch_error(connection.settings, stored)
    raise RestartRequired(
        f"Table {table_names(connection.settings)['contracts']} does not have the contract yet.",
        hint="`orderflow init` adds it; a sink adds it when it starts.",
    )


def check_is_latest(connection: Connection, contract_id: int, locked_id: int) -> None:
    """Raise ContractInvalid if a partition's records were stored with a later contract than this one.

    `locked_id` is of the ledger's row, which the transaction has locked.
    """
    if locked_id > contract_id:
        raise mismatch_error(connection.settings, read_versions(connection))


def mismatch_error(settings: Settings, stored: Versions, beginning: str = "", hint: str = "") -> ContractInvalid:
    """Return the error for a contract that differs from the tables' contract.

    `beginning` is a prefix of its message.
    """
    named = f"ORDER_CONTRACT {settings.order_contract}" if settings.order_contract else "The default contract"
    tables = f"{settings.mysql_database}.{settings.mysql_table}"
    if not settings.order_contract and stored.last_used != DEFAULT:
        return ContractInvalid(
            f"{beginning}ORDER_CONTRACT is not set, but the orders of {tables} were stored with a contract file"
            f" (version {stored.last_used_id}).",
            hint="Set ORDER_CONTRACT to that file, in the environment or in .env.",
        )
    differences = "; ".join(change.description for change in changes(stored.last_used, loader.contract_of(settings)))
    return ContractInvalid(
        f"{beginning}{named} is not the contract of {tables}, whose last records were stored with version"
        f" {stored.last_used_id}: {differences}.",
        hint=hint
        or "Use the contract file of the running sink, or stop the sink and run `orderflow init` with this one."
        " `orderflow contract diff` shows the changes.",
    )


def as_json(contract: Contract) -> str:
    """Return the contract as the table of contracts stores it."""
    return msgspec.json.encode(contract.without_documentation).decode()


def record_start(  # noqa: PLR0917
    connection: Connection, topic: str, topic_id: str, partition: int, first_offset: int, contract_id: int
) -> None:
    """Record that the version holds for the locked partition from this offset on."""
    values = {
        "topic": topic,
        "topic_id": topic_id,
        "partition": partition,
        "first_offset": first_offset,
        "contract_id": contract_id,
    }
    connection.execute("insert_contract_start", values)
    connection.execute("set_partition_contract", values)


def read_starts(connection: Connection) -> ContractStarts:
    """Map topic id and partition to the first offset and id of each version, in the order of the offsets."""
    by_partition: defaultdict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for topic_id, partition, first_offset, contract_id in connection.execute("select_contract_starts").rows:
        by_partition[topic_id, partition].append((first_offset, contract_id))
    return by_partition
