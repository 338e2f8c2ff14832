"""The versions of the contract: which one read a record, and whether those in the tables fit together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from orderflow.audit.partition import Partition
from orderflow.audit.report import Finding, Report
from orderflow.audit.scope import Scope
from orderflow.contract.definition import Contract, Order
from orderflow.contract.fast_path import decode_batch
from orderflow.errors import Contention, RecordRejected
from orderflow.store import contracts
from orderflow.store.connection import Connection
from orderflow.store.orders import ExistingRow
from orderflow.topic import Record


class ReadRecord(NamedTuple):
    """A record, and what a version of the contract makes of it."""

    record: Record
    result: Order | RecordRejected
    contract_id: int


class ContractVersions:
    """The versions of the contract, and the offset from which on each one read a partition's records."""

    def __init__(self, connection: Connection, newest: Contract) -> None:
        """`newest` is the version by whose columns the tables are read. Raises Contention if there is a newer one."""
        self.newest = newest
        self._versions = contracts.versions(connection)
        self._starts = contracts.starts(connection)
        if self._versions.contracts[self._versions.newest_id] != newest:
            raise Contention("The contract was changed while the audit began.")

    def check(self, scope: Scope, report: Report) -> None:
        """Check that the contract's versions of each partition exist, rise, and end with the ledger's.

        A writer stores only by a version that is not lower than the partition's last one, and begins a higher one at
        the first offset that it stores.
        """
        known = self._versions.contracts
        unknown, begun = {*self._starts}, set[int]()
        for part in scope.partitions:
            unknown.discard((part.entry.topic_id, part.entry.partition))
            begun |= self._check_starts(part, report)
        for topic_id, number in sorted(unknown):
            what = f"contract versions begin in a partition of topic id {topic_id} that the ledger does not have"
            report.add("counters", Finding(what=what, partition=number))
        for contract_id in sorted(begun & known.keys()):
            if lacking := {*known[contract_id].names} - {*self.newest.names}:
                columns = ", ".join(sorted(lacking))
                what = f"contract version {self._versions.newest_id} lacks columns of version {contract_id}: {columns}"
                report.add("tables", Finding(what=what))

    def _check_starts(self, part: Partition, report: Report) -> set[int]:
        """Check the versions of this partition, and return them."""
        starts = self._starts.get((part.entry.topic_id, part.entry.partition), [])
        contract_ids = [0, *(contract_id for _, contract_id in starts)]
        if missing := {*contract_ids} - self._versions.contracts.keys():
            report.add("counters", part.finding(f"contract version {min(missing)} is missing"))
        elif contract_ids[-1] != part.checks.contract_id:
            last = f"the last version that begins is {contract_ids[-1]}"
            what = f"the ledger has contract version {part.checks.contract_id}, but {last}"
            report.add("counters", part.finding(what))
        for (first, contract_id), before in zip(starts, contract_ids, strict=False):
            if contract_id <= before:
                what = f"contract version {contract_id} begins at offset {first}, after {before}"
                report.add("counters", part.finding(what))
            if not part.entry.first_offset <= first < part.entry.next_offset:
                what = f"contract version {contract_id} begins at offset {first}, which is not the ledger's"
                report.add("counters", part.finding(what))
        return {*contract_ids}

    def id_at(self, part: Partition, offset: int) -> int:
        """The version by which the record at this offset was stored."""
        starts = self._starts.get((part.entry.topic_id, part.entry.partition), ())
        contract_id = next((contract_id for first, contract_id in reversed(starts) if first <= offset), 0)
        return contract_id if contract_id in self._versions.contracts else 0  # `check` has reported it

    def id_of_replay(self, part: Partition, offset: int, contract_id: int, report: Report) -> int:
        """The version by which a replay read the record at this offset: `contract_id`, if that is possible."""
        at = self.id_at(part, offset)
        if contract_id in self._versions.contracts and contract_id >= at:
            return contract_id
        why = "is missing" if contract_id > at else f"is older than its own, {at}"
        what = f"contract version {contract_id}, by which the record was replayed, {why}"
        report.add("quarantine", part.finding(what, offset))
        return at

    def read(self, records: Sequence[Record], contract_ids: Sequence[int]) -> list[ReadRecord]:
        """Read each record by its version of the contract. The orders have the columns of the newest version."""
        found: list[ReadRecord] = []
        for contract_id, group in groupby(zip(contract_ids, records, strict=True), key=lambda pair: pair[0]):
            contract = self._versions.contracts[contract_id]
            some = [record for _, record in group]
            results = decode_batch([record.value for record in some], contract).results
            for record, result in zip(some, results, strict=True):
                aligned = result if isinstance(result, RecordRejected) else contract.align(result, self.newest)
                found.append(ReadRecord(record, aligned, contract_id))
        return found

    def row_as_read(self, row: ExistingRow, contract_id: int) -> ExistingRow:
        """The row with NULL in the columns that this version of the contract lacks, as its sink left them."""
        known = self._versions.contracts[contract_id].by_name
        values = zip(self.newest.names, row.order, strict=True)
        return row._replace(order=tuple(value if name in known else None for name, value in values))
