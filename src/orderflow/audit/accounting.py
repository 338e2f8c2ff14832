"""Accounts for each record of the topic, by a row of the orders table or of the quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orderflow.audit.contract_versions import ContractVersions, ReadRecord
from orderflow.audit.ledger_checks import check_last_record
from orderflow.audit.partition import Partition
from orderflow.audit.quarantined_rows import check_quarantined
from orderflow.audit.report import Report
from orderflow.audit.stored_rows import Expected, check_stored
from orderflow.contract.definition import Order
from orderflow.store import orders, snapshot
from orderflow.store.connection import Connection
from orderflow.store.orders import ExistingRow
from orderflow.store.snapshot import AuditedQuarantineEntry
from orderflow.topic import Record


class Accounting:
    """Compares records with the snapshot. `quarantine_rows` is the number of rows that the quarantine has for them."""

    def __init__(self, connection: Connection, versions: ContractVersions, report: Report) -> None:
        self.quarantine_rows = 0
        self._connection = connection
        self._versions = versions
        self._report = report

    def account(self, partition: Partition, records: Sequence[Record], start: int, end: int) -> None:
        """Check `records`: all records of the topic with `start` <= offset < `end`."""
        self._report.records += len(records)
        check_last_record(partition, records, start, end, self._report)
        quarantined = self._find_quarantined(partition, records, start, end)
        replayed = {offset: row for offset, row in quarantined.items() if row.status == "replayed"}
        expected = [
            record
            if (row := replayed.get(record.offset)) is None or row.corrected is None
            else record._replace(value=row.corrected)
            for record in records
            if record.offset not in quarantined or record.offset in replayed
        ]
        in_quarantine = [record for record in records if record.offset in quarantined]
        # ORDER_RANGES is ignored here: records that it rejected are in the quarantine and are checked there, and
        # records that were stored before the setting was changed stay stored.
        contract_ids = [
            self._versions.id_of_replay(partition, record.offset, row.contract_id or 0, self._report)
            if (row := replayed.get(record.offset))
            else self._versions.id_at(partition, record.offset)
            for record in expected
        ]
        contract_ids += [
            self._versions.id_at(partition, record.offset)
            if (contract_id := quarantined[record.offset].reason_contract_id) is None
            else self._versions.id_of_replay(partition, record.offset, contract_id, self._report)
            for record in in_quarantine
        ]
        read_records = self._versions.read((*expected, *in_quarantine), contract_ids)
        ids = [read_record.result.order_id for read_record in read_records if isinstance(read_record.result, Order)]
        rows = orders.find_by_order_id(self._connection, ids)
        for read_record in read_records[len(expected) :]:
            row_of_id = _row_of(read_record, rows)
            row_as_read = row_of_id and self._versions.row_as_read(row_of_id, read_record.contract_id)
            check_quarantined(partition, read_record, quarantined[read_record.record.offset], row_as_read, self._report)
        for read_record in read_records[: len(expected)]:
            row_of_id, replay = _row_of(read_record, rows), replayed.get(read_record.record.offset)
            check_stored(Expected(partition, read_record, row_of_id, replay), self._versions, self._report)

    def _find_quarantined(
        self, partition: Partition, records: Sequence[Record], start: int, end: int
    ) -> dict[int, AuditedQuarantineEntry]:
        """The rows of the quarantine for these records, by offset; rows without a record are reported and left out."""
        rows = snapshot.quarantined(self._connection, partition.entry.topic_id, partition.entry.partition, start, end)
        self.quarantine_rows += len(rows)
        offsets = {record.offset for record in records} if rows else set()
        for offset in rows.keys() - offsets:
            description = "is in the quarantine, but the topic has no such record"
            self._report.add("quarantine", partition.finding(description, offset, rows.pop(offset).order_id))
        return rows


def _row_of(read: ReadRecord, rows: Mapping[str, ExistingRow]) -> ExistingRow | None:
    return rows.get(read.result.order_id) if isinstance(read.result, Order) else None
