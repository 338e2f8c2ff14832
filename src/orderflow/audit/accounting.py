"""Accounts for each record of the topic, by a row of the orders table or of the quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orderflow.audit.contract_versions import ContractVersions, DecodedRecord
from orderflow.audit.ledger_checks import check_last_record
from orderflow.audit.partition import AuditedPartition
from orderflow.audit.quarantined_rows import check_quarantined
from orderflow.audit.report import Report
from orderflow.audit.stored_rows import ExpectedOrder, check_stored
from orderflow.contract.definition import Order
from orderflow.store import snapshot
from orderflow.store.connection import Connection
from orderflow.store.existing_orders import ExistingRow, find_by_order_id
from orderflow.store.snapshot import AuditedQuarantineEntry
from orderflow.topic import Record


class Accounting:
    """Compares records with the snapshot. `quarantine_rows` is the number of rows that the quarantine has for them."""

    def __init__(self, connection: Connection, versions: ContractVersions, report: Report) -> None:
        self.quarantine_rows = 0
        self._connection = connection
        self._versions = versions
        self._report = report

    def account(self, partition: AuditedPartition, records: Sequence[Record], start: int, end: int) -> None:
        """Check `records`: all records of the topic with `start` <= offset < `end`."""
        self._report.records += len(records)
        check_last_record(partition, records, start, end, self._report)
        entries = self._find_entries(partition, records, start, end)
        replayed = {offset: entry for offset, entry in entries.items() if entry.status == "replayed"}
        # A replayed record is checked twice: as a stored order, with its corrected value, and as a quarantined record.
        expected = [
            _with_corrected_value(record, replayed.get(record.offset))
            for record in records
            if record.offset not in entries or record.offset in replayed
        ]
        quarantined = [record for record in records if record.offset in entries]
        # ORDER_RANGES is ignored here: records that it rejected are in the quarantine and are checked there, and
        # records that were stored before the setting was changed stay stored.
        decoded_expected = self._versions.decode(
            expected, [self._order_contract_id(partition, record, replayed.get(record.offset)) for record in expected]
        )
        decoded_quarantined = self._versions.decode(
            quarantined, [self._reason_contract_id(partition, record, entries[record.offset]) for record in quarantined]
        )
        ids = [
            decoded.result.order_id
            for decoded in (*decoded_expected, *decoded_quarantined)
            if isinstance(decoded.result, Order)
        ]
        rows = find_by_order_id(self._connection, ids)
        for decoded in decoded_quarantined:
            row = _row_of(decoded, rows)
            row = row and self._versions.without_later_columns(row, decoded.contract_id)
            check_quarantined(partition, decoded, entries[decoded.record.offset], row, self._report)
        for decoded in decoded_expected:
            order = ExpectedOrder(partition, decoded, _row_of(decoded, rows), replayed.get(decoded.record.offset))
            check_stored(order, self._versions, self._report)

    def _order_contract_id(
        self, partition: AuditedPartition, record: Record, replayed: AuditedQuarantineEntry | None
    ) -> int:
        """Return the contract version by which the record was stored, or replayed."""
        if replayed is None:
            return self._versions.contract_id_at(partition, record.offset)
        contract_id = replayed.contract_id or 0
        return self._versions.contract_id_of_replay(partition, record.offset, contract_id, self._report)

    def _reason_contract_id(self, partition: AuditedPartition, record: Record, entry: AuditedQuarantineEntry) -> int:
        """Return the contract version by which the sink, or a replay, set the reason."""
        if entry.reason_contract_id is None:
            return self._versions.contract_id_at(partition, record.offset)
        return self._versions.contract_id_of_replay(partition, record.offset, entry.reason_contract_id, self._report)

    def _find_entries(
        self, partition: AuditedPartition, records: Sequence[Record], start: int, end: int
    ) -> dict[int, AuditedQuarantineEntry]:
        """Return the quarantine's rows for these records, by offset. A row without a record is a finding."""
        entries = snapshot.read_quarantined(
            self._connection, partition.entry.topic_id, partition.entry.partition, start, end
        )
        self.quarantine_rows += len(entries)
        offsets = {record.offset for record in records} if entries else set()
        for offset in entries.keys() - offsets:
            description = "is in the quarantine, but the topic has no such record"
            self._report.add("quarantine", partition.finding(description, offset, entries.pop(offset).order_id))
        return entries


def _with_corrected_value(record: Record, replayed: AuditedQuarantineEntry | None) -> Record:
    """Return the record with the value that a replay stored, if a person corrected it."""
    if replayed is None or replayed.corrected is None:
        return record
    return record._replace(value=replayed.corrected)


def _row_of(decoded: DecodedRecord, rows: Mapping[str, ExistingRow]) -> ExistingRow | None:
    return rows.get(decoded.result.order_id) if isinstance(decoded.result, Order) else None
