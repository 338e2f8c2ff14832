"""Runs the audit: compares the topic with a snapshot of the tables, then searches the tables for extra rows."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import msgspec

from orderflow import topic
from orderflow.audit.partition import Partition, check_times, differences, microseconds
from orderflow.audit.reasons import check_columns, check_reason
from orderflow.audit.report import LISTED, Finding, Report
from orderflow.contract import loader
from orderflow.contract.definition import Order
from orderflow.contract.fast_path import decode_batch
from orderflow.errors import (
    Contention,
    DatabaseRefused,
    OffsetsLost,
    RecordRejected,
    TopicMissing,
    TopicRecreated,
    TopicUnusable,
)
from orderflow.read_ahead import read_ahead
from orderflow.settings import Settings
from orderflow.store import audits, contracts, ledger, schema, snapshot
from orderflow.store.connection import Connection
from orderflow.store.ledger import LedgerEntry, Loss, check_topic_id, fingerprint, losses
from orderflow.store.snapshot import Adoption, AuditedRecord, StoredRow
from orderflow.topic import Bounds, Record, TopicInfo

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
_Chunk = tuple[list[Record], int]

_ATTEMPTS, _RETRY_WAIT = 5, 1.0  # attempts if a table is altered during the audit, and seconds between two attempts
_CHUNK = 10_000  # records compared at a time; fewer if they reach _CHUNK_BYTES
_CHUNK_BYTES = 16 * 1024 * 1024
_NOT_STORED = "is neither stored nor in the quarantine"
_ADOPTED = -1  # the partition number of adopted rows, see store/sql/schema/adopt_orders.sql


def run(settings: Settings, progress: Progress = lambda done, total: None) -> Report:
    """Check every record that the ledger accounts for, and everything else in the tables.

    `progress` is called with the number of offsets read and their total. The audit reads a snapshot of the tables, so
    the sink can continue. Records that retention removes before they are read can no longer be proven, like those that
    had left the topic before. A compacted topic is a finding.

    If a table is altered during the audit, the snapshot ends and the audit restarts.

    Raises TopicMissing, TopicUnusable, TopicRecreated, OffsetsLost (the topic lost its end), KafkaUnavailable,
    KafkaRefused, DatabaseUnavailable, DatabaseRefused, and Contention after several attempts.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _run_once(settings, progress)
        except Contention as contention:
            if attempt == _ATTEMPTS:
                raise
            log.warning("%s The audit restarts.", contention.message)
            time.sleep(_RETRY_WAIT)
    raise AssertionError("the last attempt returns or raises")


def _run_once(settings: Settings, progress: Progress) -> Report:
    # By the latest version of the contract: the table has all its columns, whatever ORDER_CONTRACT names.
    known = schema.stored_contracts(settings.for_reading)
    settings = loader.with_contract(settings, known.contracts[known.highest_number])
    with snapshot.opened(settings) as connection:
        audit = _Audit(settings, connection)
        audit.check_structure()
        audit.check_cleanup_policies()
        audit.check_removed_records()
        audit.check_ledger()
        audit.check_contracts()
        audit.read_topics(progress)
        audit.find_extra_rows()
        audit.find_extra_quarantine_rows()
        audit.compare_counters()
        audit.compare_rollup()
        audit.compare_views()
        audit.check_last_audit()
        return audit.report


class _Audit:
    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self.report = Report()
        self._contract = loader.contract_of(settings)
        self._contracts = contracts.versions(connection)
        self._contract_starts = contracts.starts(connection)
        if self._contracts.contracts[self._contracts.highest_number] != self._contract:
            raise Contention("The contract was changed while the audit began.")
        entries = snapshot.ledger(connection)  # before the topic's bounds, because these only grow
        self._topic, bounds, self.report.topics_gone = _find_bounds(settings, entries)
        self._bounds = bounds
        self.report.losses = losses(connection)
        self.report.lost_offsets = sum(loss.end_offset - loss.first_offset for loss in self.report.losses)
        accepted: defaultdict[tuple[str, int], list[Loss]] = defaultdict(list)
        for loss in self.report.losses:
            accepted[loss.topic, loss.partition].append(loss)
        checks = snapshot.ledger_checks(connection)
        self._partitions = [
            Partition(entry, bounds[where], accepted.pop(where, ()), checks[where])
            for entry in entries
            for where in [(entry.topic, entry.partition)]
        ]
        self._unknown_losses = [loss for unmatched in accepted.values() for loss in unmatched]
        # The orders table has no topic column: partitions of the same number in several topics share coordinates.
        self._by_number: defaultdict[int, list[Partition]] = defaultdict(list)
        for part in self._partitions:
            self._by_number[part.entry.partition].append(part)
        for part in self._partitions:
            part.peers = [peer for peer in self._by_number[part.entry.partition] if peer is not part]
        self._quarantine_seen = 0
        self._unprovable: Counter[tuple[str, int]] = Counter()  # by the ledger's counter and the partition number
        self._unprovable_times: Counter[int] = Counter()  # the sum of their times (microseconds), by partition number
        self._count_unreadable()
        self.report.before_ledger = sum(part.entry.first_offset for part in self._partitions)
        next_offsets = {(entry.topic, entry.partition): entry.next_offset for entry in entries}
        self.report.not_yet_stored = sum(
            max(0, end - next_offsets.get(where, first))
            for where, (first, end) in bounds.items()
            if where[0] == settings.kafka_topic
        )

    def _count_unreadable(self) -> None:
        self.report.unreadable_offsets = sum(part.unreadable_count for part in self._partitions)

    def check_structure(self) -> None:
        for what in snapshot.structure_differences(self._settings):
            self.report.add("tables", Finding(what=what))

    def check_cleanup_policies(self) -> None:
        """Check that no topic is compacted: nothing shows that a record was removed before it was stored."""
        names = {self._topic.name, *(part.entry.topic for part in self._partitions)}
        for name in sorted(names.difference(self.report.topics_gone)):
            try:
                if topic.check_cleanup_policy(_of_topic(self._settings, name)) is None:
                    self.report.policies_unknown.append(name)
            except TopicUnusable as compacted:
                what = f"{compacted.message} So it cannot be proven that every order was stored."
                self.report.add("topics", Finding(what=what))

    def check_removed_records(self) -> None:
        """Check that no record left KAFKA_TOPIC before it was stored, unless its loss is accepted."""
        name = self._topic.name
        if name not in {part.entry.topic for part in self._partitions}:
            return  # before the first start

        def removed(entries: Iterable[LedgerEntry]) -> dict[int, tuple[int, int]]:
            positions = {entry.partition: entry.next_offset for entry in entries if entry.topic == name}
            return {
                number: (start, bound.first)
                for (topic_name, number), bound in self._bounds.items()
                if topic_name == name and (start := positions.get(number, 0)) < bound.first
            }

        if not removed(part.entry for part in self._partitions):
            return
        with Connection(self._settings.for_reading) as connection:  # perhaps a sink has stored them since the snapshot
            for number, (start, end) in removed(ledger.entries(connection)).items():
                what = f"offsets {start} to {end - 1} left the topic before they were stored"
                self.report.add("topics", Finding(what=what, topic=name, partition=number))

    def check_ledger(self) -> None:
        """Check the ledger's rows, and search the topic for records before their first offsets."""
        ids: dict[str, str] = {self._topic.name: self._topic.topic_id}
        names = {self._topic.topic_id: self._topic.name}
        for part in self._partitions:
            name, number, topic_id, *_ = part.entry
            if ids.setdefault(name, topic_id) != topic_id or names.setdefault(topic_id, name) != name:
                self._add_counters(part, f"topic {name} with id {topic_id} contradicts another row of the ledger")
            if name == self._topic.name and number not in self._topic.partitions:
                self._add_counters(part, "the ledger has a partition that the topic does not have")
            if not 0 <= part.entry.first_offset <= part.entry.next_offset:
                what = f"the ledger's first_offset {part.entry.first_offset} is not between 0 and its next_offset"
                self._add_counters(part, what)
            first, end = part.unaccounted
            if first < end and self._holds_records(name, number, first, end):
                what = f"the topic holds records of offsets {first} to {end - 1}, before the ledger's first_offset"
                self._add_counters(part, what)
            if (last := part.checks.last).offset >= part.entry.next_offset:
                self._add_counters(part, f"the ledger's last_offset {last.offset} is not before its next_offset")

    def _holds_records(self, name: str, number: int, first: int, end: int) -> bool:
        topic_settings = _of_topic(self._settings, name)
        try:
            return topic.holds_records(topic_settings, number, first, end)
        except OffsetsLost:  # retention has removed some of them meanwhile
            return topic.holds_records(topic_settings, number, _first_offset(topic_settings, number), end)

    def check_contracts(self) -> None:
        """Check that the contract's versions of each partition exist, rise, and end with the ledger's.

        A writer stores only by a version that is not lower than the partition's last one, and begins a higher one at
        the first offset that it stores.
        """
        unknown, begun = {*self._contract_starts}, set[int]()
        for part in self._partitions:
            where = part.entry.topic_id, part.entry.partition
            unknown.discard(where)
            starts = self._contract_starts.get(where, [])
            numbers = [0, *(number for _, number in starts)]
            begun |= {*numbers}
            if missing := {*numbers} - self._contracts.contracts.keys():
                self._add_counters(part, f"contract version {min(missing)} is missing")
            elif numbers[-1] != part.checks.contract_id:
                last = f"the last version that begins is {numbers[-1]}"
                what = f"the ledger has contract version {part.checks.contract_id}, but {last}"
                self._add_counters(part, what)
            for (first, number), before in zip(starts, numbers, strict=False):
                if number <= before:
                    self._add_counters(part, f"contract version {number} begins at offset {first}, after {before}")
                if not part.entry.first_offset <= first < part.entry.next_offset:
                    what = f"contract version {number} begins at offset {first}, which is not the ledger's"
                    self._add_counters(part, what)
        for topic_id, number in sorted(unknown):
            what = f"contract versions begin in a partition of topic id {topic_id} that the ledger does not have"
            self.report.add("counters", Finding(what=what, partition=number))
        for number in sorted(begun & self._contracts.contracts.keys()):
            if lacking := {*self._contracts.contracts[number].names} - {*self._contract.names}:
                newest = self._contracts.highest_number
                what = f"contract version {newest} lacks columns of version {number}: {', '.join(sorted(lacking))}"
                self.report.add("tables", Finding(what=what))

    def _add_counters(self, part: Partition, what: str) -> None:
        self.report.add("counters", Finding(what=what, topic=part.entry.topic, partition=part.entry.partition))

    def read_topics(self, progress: Progress) -> None:
        total, done = sum(part.size for part in self._partitions), 0
        for part in self._partitions:
            settings = _of_topic(self._settings, part.entry.topic)
            while part.position < part.entry.next_offset:
                try:
                    for compared in self._read_partition(part, settings):
                        progress(done + compared, total)
                except OffsetsLost:  # retention has removed records that were not compared yet
                    if (first := _first_offset(settings, part.entry.partition)) <= part.position:
                        raise
                    part.remove_before(first)
                    self._count_unreadable()
            done += part.size

    def _read_partition(self, part: Partition, settings: Settings) -> Iterator[int]:
        """Compare the records from the partition's position on. Yield how many of its offsets are done."""
        part.damaged = [
            loss
            for loss in part.losses
            if loss in part.damaged or (loss.end_offset > part.position and self._is_damaged(part, loss))
        ]
        for first, end in part.readable_ranges():
            part.position = first
            for records, chunk_end in read_ahead(_split(topic.read(settings, part.entry.partition, first, end), end)):
                self._account(part, records, part.position, chunk_end)
                part.position = chunk_end
                yield part.position - part.start
        part.position = part.entry.next_offset

    def _account(self, part: Partition, records: Sequence[Record], start: int, end: int) -> None:
        """Check `records`, which are all records of the topic at the offsets from `start` up to, without, `end`."""
        self.report.records += len(records)
        self._check_last_record(part, records, start, end)
        quarantined = self._find_quarantined(part, records, start, end)
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
        numbers = [
            self._contract_of_replay(part, record.offset, row.contract_id or 0)
            if (row := replayed.get(record.offset))
            else self._contract_at(part, record.offset)
            for record in expected
        ]
        numbers += [
            self._contract_at(part, record.offset)
            if (number := quarantined[record.offset].reason_contract_id) is None
            else self._contract_of_replay(part, record.offset, number)
            for record in in_quarantine
        ]
        results = self._read([record.value for record in (*expected, *in_quarantine)], numbers)
        ids = [result.order_id for result in results if isinstance(result, Order)]
        rows = snapshot.find_orders(self._connection, ids)
        read = list(zip((*expected, *in_quarantine), results, numbers, strict=True))
        for record, result, number in read[len(expected) :]:
            stored = rows.get(result.order_id) if isinstance(result, Order) else None
            stored = stored and self._as_read(stored, number)
            self._check_quarantined(part, record, quarantined[record.offset], result, stored)
        for record, result, number in read[: len(expected)]:
            self._check_stored(part, record, result, rows, number, replayed.get(record.offset))

    def _check_last_record(self, part: Partition, records: Sequence[Record], start: int, end: int) -> None:
        """Check that the last record of the ledger is the topic's."""
        last = part.checks.last
        if not start <= last.offset < end:
            return
        found = {record.offset: record for record in records}.get(last.offset)
        if found is None or fingerprint(found.timestamp, found.key) != last.fingerprint:
            self._add_counters(part, f"the record at the ledger's last_offset {last.offset} is not the one it stored")

    def _contract_at(self, part: Partition, offset: int) -> int:
        """The version of the contract by which the record at this offset was stored."""
        starts = self._contract_starts.get((part.entry.topic_id, part.entry.partition), ())
        number = next((number for first, number in reversed(starts) if first <= offset), 0)
        return number if number in self._contracts.contracts else 0  # check_contracts has reported it

    def _contract_of_replay(self, part: Partition, offset: int, number: int) -> int:
        """The version of the contract by which a replay read the record at this offset."""
        at = self._contract_at(part, offset)
        if number in self._contracts.contracts and number >= at:
            return number
        why = "is missing" if number > at else f"is older than its own, {at}"
        what = f"contract version {number}, by which the record was replayed, {why}"
        self.report.add("quarantine", _finding(part, offset, what))
        return at

    def _read(self, values: Sequence[bytes | None], numbers: Sequence[int]) -> list[Order | RecordRejected]:
        """Decode each value by this version of the contract. The orders have the columns of the settings' contract."""
        results: list[Order | RecordRejected] = []
        for number, group in groupby(zip(numbers, values, strict=True), key=lambda pair: pair[0]):
            contract = self._contracts.contracts[number]
            results += [
                result if isinstance(result, RecordRejected) else contract.align(result, self._contract)
                for result in decode_batch([value for _, value in group], contract).results
            ]
        return results

    def _as_read(self, row: StoredRow, number: int) -> StoredRow:
        """The row with NULL in the columns that this version of the contract lacks, so that its sink ignores them."""
        known = self._contracts.contracts[number].by_name
        values = zip(self._contract.names, row.order, strict=True)
        return row._replace(order=tuple(value if name in known else None for name, value in values))

    def _find_quarantined(
        self, part: Partition, records: Sequence[Record], start: int, end: int
    ) -> dict[int, AuditedRecord]:
        """The rows of the quarantine for these records, by offset; rows without a record are reported and left out."""
        found = snapshot.quarantined(self._connection, part.entry.topic_id, part.entry.partition, start, end)
        self._quarantine_seen += len(found)
        offsets = {record.offset for record in records} if found else set()
        for offset in found.keys() - offsets:
            what = "is in the quarantine, but the topic has no such record"
            self.report.add("quarantine", _finding(part, offset, what, found.pop(offset).order_id))
        return found

    def _check_quarantined(
        self,
        part: Partition,
        record: Record,
        quarantined: AuditedRecord,
        result: Order | RecordRejected,
        row: StoredRow | None,
    ) -> None:
        """Check a record's row in the quarantine."""
        report = self.report
        part.add_quarantined(
            record.offset,
            quarantined.quarantined_at,
            quarantined.resolved_at if quarantined.status == "replayed" else None,
        )
        part.update_last_record(record.offset, quarantined.quarantined_at)
        if quarantined.status == "replayed":
            report.replayed += 1
        else:
            report.quarantined += 1
            report.discarded += quarantined.status == "discarded"
            report.by_reason[quarantined.reason] = report.by_reason.get(quarantined.reason, 0) + 1
        wrong = list(check_columns(part.entry.topic, record, quarantined))
        if not wrong and (what := check_reason(record, quarantined, result, row, **self._leniency(part))):
            wrong.append(what)
        for what in wrong:
            report.add("quarantine", _finding(part, record.offset, what, quarantined.order_id))

    def _leniency(self, part: Partition) -> dict[str, bool]:
        """The arguments of `check_reason` that make it less strict."""
        return {
            "rows_may_be_gone": self.report.unreadable_offsets > 0,
            "coordinates_are_shared": bool(part.peers),
        }

    def _check_stored(  # noqa: PLR0917
        self,
        part: Partition,
        record: Record,
        result: Order | RecordRejected,
        rows: Mapping[str, StoredRow],
        number: int,
        replayed: AuditedRecord | None,
    ) -> None:
        """Check the row of a record that should be stored: one that was never in the quarantine, or was replayed.

        `number` is the version of the contract that read the record.
        """
        report = self.report
        if not isinstance(result, Order):
            where = "was replayed" if replayed else "is not in the quarantine"
            what = f"breaks the contract ({result.reason}: {result.message}), but {where}"
            report.add("missing", _finding(part, record.offset, what))
            return
        row = rows.get(result.order_id)
        if row is None:
            what = "was replayed, but is not stored" if replayed else _NOT_STORED
            report.add("missing", _finding(part, record.offset, what, result.order_id))
            return
        is_own = self._is_own(part, record, result.order_id, row, replayed)
        if is_own:
            part.add_row(record.offset, result.order_id, row.stored_at)
        else:
            row = self._as_read(row, number)
        if not replayed:
            part.update_last_record(record.offset, row.stored_at if is_own else None)
        if row.order != result.row():
            fields = differences(self._contract, result, row.order)
            what = f"is stored with another {', '.join(fields)}"
            if not is_own:
                what += " by another record; this record should be in the quarantine"
            found = _finding(part, record.offset, what, result.order_id)
            report.add("different", msgspec.structs.replace(found, fields=fields))
        elif is_own and (wrong := check_times(record, row, replayed)):
            report.add("different", _finding(part, record.offset, wrong, result.order_id))
        elif not is_own and self._has_later_coordinates(part, record, row, replayed):
            what = f"is stored with the coordinates of a later record (offset {row.offset})"
            report.add("different", _finding(part, record.offset, what, result.order_id))
        elif is_own:
            report.stored += 1
        else:
            report.duplicates += 1
            part.counts["duplicates"] += 1

    def _is_own(
        self, part: Partition, record: Record, order_id: str, row: StoredRow, replayed: AuditedRecord | None
    ) -> bool:
        """Whether the record became this row."""
        if (row.offset, row.partition) != (record.offset, record.partition):
            return False
        # A record of another topic may have the same coordinates; usually the times differ.
        return not part.peers or not (
            check_times(record, row, replayed) or any(peer.has_row(record.offset, order_id) for peer in part.peers)
        )

    def _has_later_coordinates(
        self, part: Partition, record: Record, row: StoredRow, replayed: AuditedRecord | None
    ) -> bool:
        """Whether the row has the coordinates of a later record, although this record was the first of its order_id.

        Returns False if the order cannot be known: for a replayed record; if records have left the topic, because an
        earlier row may have been archived; if another topic has a partition of this number, because the row may
        belong to that topic.
        """
        if row.partition != record.partition or row.offset is None or row.offset <= record.offset:
            return False
        return not (replayed or part.unreadable_count or part.peers)

    def find_extra_rows(self) -> None:
        rows, marked = snapshot.count_orders(self._connection)
        self.report.adopted = marked.orders
        self._check_adoption(marked)
        if rows == marked.orders + sum(part.counts["stored"] for part in self._partitions):
            return
        for order_id, number, offset, stored_at in snapshot.every_order(self._connection):
            if number == _ADOPTED:
                continue
            if number is None or offset is None:
                self.report.add("extra", Finding(what="was added by hand: it has no coordinates", order_id=order_id))
                continue
            peers = self._by_number.get(number, [])
            if any(peer.has_row(offset, order_id) for peer in peers):
                continue
            if any(peer.is_unreadable(offset) for peer in peers):
                self._unprovable["stored", number] += 1
                self._unprovable_times[number] += microseconds(stored_at)
                continue
            topics = ", ".join(peer.entry.topic for peer in peers) or None
            what = _explain_extra(offset, peers)
            self.report.add(
                "extra", Finding(what=what, topic=topics, partition=number, offset=offset, order_id=order_id)
            )

    def _check_adoption(self, marked: Adoption) -> None:
        """Check that the rows marked as adopted are those that were counted at the adoption."""
        counted = snapshot.adoption(self._connection)
        if counted is None:
            what = "the count of the adopted rows is missing or exists more than once"
            self.report.add("adoption", Finding(what=what))
        elif counted.orders != marked.orders:
            what = f"{counted.orders:,} rows were adopted, but {marked.orders:,} rows are marked as adopted"
            self.report.add("adoption", Finding(what=what))
        elif counted != marked:
            self.report.add("adoption", Finding(what="rows that were adopted have changed since: the checksum differs"))

    def find_extra_quarantine_rows(self) -> None:
        expected, actual = snapshot.count_chunks(self._connection)
        if expected != actual:
            what = f"the records of the quarantine have {expected:,} chunks, but {actual:,} chunks are stored"
            self.report.add("quarantine", Finding(what=what))
        if snapshot.count_quarantine(self._connection) == self._quarantine_seen:
            return
        known = {(part.entry.topic_id, part.entry.partition): part for part in self._partitions}
        for row in snapshot.every_quarantined(self._connection):
            part = known.get((row.topic_id, row.partition))
            if part and part.is_unreadable(row.offset):
                self._unprovable["quarantined", row.partition] += 1
                self._unprovable_times[row.partition] += microseconds(row.quarantined_at)
            elif not part or not part.is_readable(row.offset):
                found = Finding(
                    what="is in the quarantine, but the ledger accounts for no such record",
                    topic=row.topic,
                    partition=row.partition,
                    offset=row.offset,
                    order_id=row.order_id,
                )
                self.report.add("quarantine", found)

    def compare_counters(self) -> None:
        self.report.unprovable = self._unprovable.total()
        self._check_losses()
        for number, parts in self._by_number.items():
            topics = ", ".join(part.entry.topic for part in parts)
            counts_agree = True
            for counter in ("stored", "duplicates", "quarantined"):
                expected = sum(getattr(part.entry, counter) for part in parts)
                found = sum(part.counts[counter] for part in parts) + self._unprovable[counter, number]
                # Duplicates leave no row, so those that left the topic cannot be counted.
                if counter == "duplicates" and any(part.unreadable_count for part in parts):
                    expected = min(expected, found)
                elif counter != "duplicates":
                    counts_agree = counts_agree and expected == found
                if expected != found:
                    what = f"the ledger counts {expected:,} {counter}, {found:,} were found"
                    self.report.add("counters", Finding(what=what, topic=topics, partition=number))
            self._compare_times(number, parts, counts_agree=counts_agree)

    def _compare_times(self, number: int, parts: Sequence[Partition], *, counts_agree: bool) -> None:
        """Compare the sum of the times of all rows of orders and quarantine with the ledger's sum.

        `counts_agree`: the number of rows equals the ledger's counters.
        """
        if not self._are_covered(parts):
            self.report.partitions_unchecked += len(parts)
        elif (
            counts_agree
            and sum(part.checks.times_sum - part.times_sum for part in parts) != self._unprovable_times[number]
        ):
            topics = ", ".join(part.entry.topic for part in parts)
            what = "stored_at or quarantined_at of its rows was changed: their sum differs from the ledger's"
            self.report.add("counters", Finding(what=what, topic=topics, partition=number))
        if len(parts) == 1 and (expected_update := parts[0].expected_update) is not None:
            updated_at = parts[0].entry.updated_at
            what = f"the ledger was updated at {updated_at}, but its last record was written at {expected_update}"
            self._add_counters(parts[0], what)

    def _are_covered(self, parts: Sequence[Partition]) -> bool:
        """Whether the ledger's sums cover all rows of these partitions."""
        return all(
            part.checks.lost is not None and part.checks.times_rows == part.entry.stored + part.entry.quarantined
            for part in parts
        )

    def _check_losses(self) -> None:
        wrong = [("the ledger has no such partition", loss) for loss in self._unknown_losses]
        for part in self._partitions:
            end = part.entry.first_offset
            for loss in part.losses:
                is_separate = loss.topic_id == part.entry.topic_id and loss.first_offset >= end
                if not is_separate or not part.may_be_lost(loss):
                    wrong.append(("they overlap with other losses, or with records of the topic", loss))
                end = loss.end_offset
            lost = sum(loss.end_offset - loss.first_offset for loss in part.losses)
            if part.checks.lost is not None and part.checks.lost != lost:
                self._add_counters(part, f"the ledger counts {part.checks.lost:,} lost offsets, {lost:,} were accepted")
        for why, loss in wrong:
            what = f"offsets {loss.first_offset} to {loss.end_offset - 1} cannot be lost: {why}"
            self.report.add("counters", Finding(what=what, topic=loss.topic, partition=loss.partition))

    def _is_damaged(self, part: Partition, loss: Loss) -> bool:
        """Whether the offsets of this loss that the topic still has cannot be read."""
        topic_settings = _of_topic(self._settings, loss.topic)
        damage = topic.find_damage(topic_settings, loss.partition, max(loss.first_offset, part.position))
        return damage is not None and loss.end_offset <= damage.end

    def compare_rollup(self) -> None:
        count, listed = snapshot.rollup_differences(self._connection, LISTED)
        self.report.counts["rollup"] = count
        self.report.rollup = [
            Finding(
                what=f"the rollup of {row.minute} {row.category!a} minus the orders table is {row.orders:+,} orders,"
                f" {row.units:+,} units, {row.revenue:+,} revenue",
                partition=row.partition,
            )
            for row in listed
        ]

    def compare_views(self) -> None:
        for view in snapshot.VIEWS:
            count, listed = snapshot.view_differences(self._connection, self._settings, view, LISTED)
            for what in listed:
                self.report.add("tables", Finding(what=what))
            self.report.counts["tables"] += count - len(listed)

    def check_last_audit(self) -> None:
        """Check the stored result of the last audit, which the dashboard shows until this audit ends."""
        try:
            last = audits.last(self._connection)
        except DatabaseRefused:
            return  # the table is missing, which check_structure reports
        if last and not last.agrees:
            what = f"the audit of {last.audited_at:%Y-%m-%d %H:%M:%S} UTC is inconsistent: it was changed by hand"
            self.report.add("tables", Finding(what=what))


def _find_bounds(
    settings: Settings, entries: Iterable[LedgerEntry]
) -> tuple[TopicInfo, dict[tuple[str, int], Bounds], list[str]]:
    """KAFKA_TOPIC, the readable bounds of its partitions and the ledger's, and the topics that no longer exist."""
    info = topic.describe(settings)
    found = {(info.name, number): bound for number, bound in topic.bounds(settings, info.partitions).items()}
    missing_topics: list[str] = []
    for name, group in groupby(entries, lambda entry: entry.topic):
        some = list(group)
        if name == settings.kafka_topic:
            for entry in some:
                check_topic_id(name, info.topic_id, entry.topic_id)
        elif (earlier := _bounds_of_earlier_topic(_of_topic(settings, name), some)) is None:
            missing_topics.append(name)
            found |= {(name, entry.partition): Bounds(entry.next_offset, entry.next_offset) for entry in some}
        else:
            found |= earlier
        for entry in some:
            end = found.setdefault((name, entry.partition), Bounds(0, 0)).end
            if end < entry.next_offset:
                raise OffsetsLost(
                    f"{name} partition {entry.partition} ends at offset {end}, but the ledger accounts for its records"
                    f" up to {entry.next_offset}.",
                    hint="Kafka lost the partition's last records and reuses their offsets. Restore the topic, or start"
                    " again with another MYSQL_TABLE.",
                )
    return info, found, missing_topics


def _bounds_of_earlier_topic(
    settings: Settings, entries: Sequence[LedgerEntry]
) -> dict[tuple[str, int], Bounds] | None:
    """The readable bounds of an earlier topic of this table; None if that topic no longer exists."""
    try:
        check_topic_id(settings.kafka_topic, topic.describe(settings).topic_id, entries[0].topic_id)
    except (TopicMissing, TopicRecreated):
        return None
    bounds = topic.bounds(settings, [entry.partition for entry in entries])
    return {(settings.kafka_topic, number): bound for number, bound in bounds.items()}


def _of_topic(settings: Settings, name: str) -> Settings:
    return msgspec.structs.replace(settings, kafka_topic=name)


def _first_offset(settings: Settings, partition: int) -> int:
    return topic.bounds(settings, [partition])[partition].first


def _split(records: Iterable[Record], end: int) -> Iterator[_Chunk]:
    """Split the records into lists, each with the offset after its last record; the last list ends at `end`."""
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.value or b"") + len(record.key or b"")
        if len(chunk) == _CHUNK or size >= _CHUNK_BYTES:
            yield chunk, record.offset + 1
            chunk, size = [], 0
    yield chunk, end


def _finding(part: Partition, offset: int, what: str, order_id: str | None = None) -> Finding:
    return Finding(what=what, topic=part.entry.topic, partition=part.entry.partition, offset=offset, order_id=order_id)


def _explain_extra(offset: int, peers: Iterable[Partition]) -> str:
    if any(peer.is_quarantined(offset) for peer in peers):
        return "is stored, though the record at its coordinates is in the quarantine"
    if any(peer.is_readable(offset) for peer in peers):
        return "is not the order of the record at its coordinates"
    return "has coordinates that the ledger does not account for"
