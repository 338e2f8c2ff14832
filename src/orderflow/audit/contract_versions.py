"""The versions of the contract: which one decodes a record, and whether the versions in the tables are consistent."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from orderflow.audit.partition import AuditedPartition
from orderflow.audit.report import Finding, Report
from orderflow.audit.scope import Scope
from orderflow.contract.definition import Contract, Order
from orderflow.contract.fast_path import decode_values
from orderflow.errors import Contention, RecordRejected
from orderflow.store import contracts
from orderflow.store.connection import Connection
from orderflow.store.existing_orders import ExistingRow
from orderflow.topic import Record


class DecodedRecord(NamedTuple):
    """A record, and the order that a version of the contract decodes from it, or why it rejects the record."""

    record: Record
    result: Order | RecordRejected
    contract_id: int


class ContractVersions:
    """The versions of the contract, and the first offset of each version in each partition."""

    def __init__(self, connection: Connection, newest: Contract) -> None:
        """`newest` is the version whose columns the tables are read with. Raises Contention if there is a newer one."""
        self.newest = newest
        self._versions = contracts.read_versions(connection)
        self._starts = contracts.read_starts(connection)
        if self._versions.contracts[self._versions.newest_id] != newest:
            raise Contention("The contract was changed while the audit began.")

    def check(self, scope: Scope, report: Report) -> None:
        """Check that the contract's versions of each partition exist, rise, and end with the ledger's.

        A writer stores only with a version that is not lower than the partition's last one, and begins a higher one at
        the first offset that it stores.
        """
        contracts_by_id = self._versions.contracts
        unknown_partitions, used_ids = {*self._starts}, set[int]()
        for partition in scope.partitions:
            unknown_partitions.discard((partition.entry.topic_id, partition.entry.partition))
            used_ids |= self._check_starts(partition, report)
        for topic_id, number in sorted(unknown_partitions):
            description = f"contract versions begin in a partition of topic id {topic_id}, which is not in the ledger"
            report.add("counters", Finding(description=description, partition=number))
        for contract_id in sorted(used_ids & contracts_by_id.keys()):
            if lacking := {*contracts_by_id[contract_id].column_names} - {*self.newest.column_names}:
                columns = ", ".join(sorted(lacking))
                description = (
                    f"contract version {self._versions.newest_id} lacks columns of version {contract_id}: {columns}"
                )
                report.add("tables", Finding(description=description))

    def _check_starts(self, partition: AuditedPartition, report: Report) -> set[int]:
        """Check the versions of this partition, and return them."""
        starts = self._starts.get((partition.entry.topic_id, partition.entry.partition), [])
        contract_ids = [0, *(contract_id for _, contract_id in starts)]
        if missing := {*contract_ids} - self._versions.contracts.keys():
            report.add("counters", partition.finding(f"contract version {min(missing)} is missing"))
        elif contract_ids[-1] != partition.control_values.contract_id:
            description = (
                f"the ledger has contract version {partition.control_values.contract_id}, but the last start is that of"
                f" version {contract_ids[-1]}"
            )
            report.add("counters", partition.finding(description))
        for (first, contract_id), previous_id in zip(starts, contract_ids, strict=False):
            if contract_id <= previous_id:
                description = f"contract version {contract_id} begins at offset {first}, after version {previous_id}"
                report.add("counters", partition.finding(description))
            if not partition.entry.first_offset <= first < partition.entry.next_offset:
                description = f"contract version {contract_id} begins at offset {first}, outside the ledger's offsets"
                report.add("counters", partition.finding(description))
        return {*contract_ids}

    def contract_id_at(self, partition: AuditedPartition, offset: int) -> int:
        """Return the version by which the record at this offset was stored."""
        starts = self._starts.get((partition.entry.topic_id, partition.entry.partition), ())
        contract_id = next((contract_id for first, contract_id in reversed(starts) if first <= offset), 0)
        return contract_id if contract_id in self._versions.contracts else 0  # `check` has reported it

    def contract_id_of_replay(self, partition: AuditedPartition, offset: int, contract_id: int, report: Report) -> int:
        """Return the version by which a replay read the record at this offset: `contract_id`, if that is possible."""
        stored_by = self.contract_id_at(partition, offset)
        if contract_id in self._versions.contracts and contract_id >= stored_by:
            return contract_id
        fault = "is missing" if contract_id > stored_by else f"is older than the record's version {stored_by}"
        description = f"was replayed with contract version {contract_id}, which {fault}"
        report.add("quarantine", partition.finding(description, offset))
        return stored_by

    def decode(self, records: Sequence[Record], contract_ids: Sequence[int]) -> list[DecodedRecord]:
        """Decode each record by its version of the contract. The orders have the columns of the newest version."""
        decoded_records: list[DecodedRecord] = []
        for contract_id, group in groupby(zip(contract_ids, records, strict=True), key=lambda pair: pair[0]):
            contract = self._versions.contracts[contract_id]
            group_records = [record for _, record in group]
            results = decode_values([record.value for record in group_records], contract).results
            for record, result in zip(group_records, results, strict=True):
                aligned = result if isinstance(result, RecordRejected) else contract.align(result, self.newest)
                decoded_records.append(DecodedRecord(record, aligned, contract_id))
        return decoded_records

    def without_later_columns(self, row: ExistingRow, contract_id: int) -> ExistingRow:
        """Return the row with NULL in the columns that only later versions of the contract have."""
        columns = self._versions.contracts[contract_id].by_name
        values = zip(self.newest.column_names, row.order, strict=True)
        return row._replace(order=tuple(value if name in columns else None for name, value in values))
