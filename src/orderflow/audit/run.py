"""The audit itself: one pass over the topic against a snapshot of the tables, then what the tables hold besides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import msgspec

from orderflow import topic
from orderflow.audit.partition import Partition, differences
from orderflow.audit.report import LISTED, Finding, Report
from orderflow.errors import OffsetsLost, TopicMissing, TopicRecreated
from orderflow.order import Order
from orderflow.reading import read
from orderflow.settings import Settings
from orderflow.store import orders, snapshot
from orderflow.store.connection import Connection
from orderflow.store.ledger import Entry, Loss, check_topic_id, losses
from orderflow.topic import Bounds, Record

Progress = Callable[[int, int], None]
_Chunk = tuple[list[Record], int]

_CHUNK = 10_000  # records that are compared at once, or fewer if they are large
_CHUNK_BYTES = 16 * 1024 * 1024
_NOWHERE = "is neither stored nor in the quarantine"
_ADOPTED = -1  # the partition of rows that were there before, see store/sql/adopt_orders.sql


def run(settings: Settings, progress: Progress = lambda done, total: None) -> Report:
    """Account for every record that the ledger says is accounted for.

    `progress` is told how many offsets have been read, and of how many. The tables are seen as they were when the
    audit began, so the sink may go on. A topic that Kafka compacts cannot be proven: rows whose records are
    compacted away show as extra.
    Raises TopicMissing, TopicRecreated, OffsetsLost, KafkaUnavailable, KafkaRefused, DatabaseUnavailable,
    DatabaseRefused.
    """
    with snapshot.opened(settings) as connection:
        audit = _Audit(settings, connection)
        audit.read_topics(progress)
        audit.look_for_extra_rows()
        audit.look_for_extra_quarantine()
        audit.compare_counters()
        audit.compare_rollup()
        return audit.report


class _Audit:
    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self.report = Report()
        entries = snapshot.ledger(connection)  # before the topic's bounds: these only grow
        bounds = _bounds(settings, entries)
        self.report.losses = losses(connection)
        self.report.lost_offsets = sum(loss.end_offset - loss.first_offset for loss in self.report.losses)
        accepted: defaultdict[tuple[str, int], list[Loss]] = defaultdict(list)
        for loss in self.report.losses:
            accepted[loss.topic, loss.partition].append(loss)
        self._partitions = [
            Partition(entry, bounds[where], accepted.pop(where, ()))
            for entry in entries
            for where in [(entry.topic, entry.partition)]
        ]
        self._unknown_losses = [loss for some in accepted.values() for loss in some]
        # The orders table does not tell topics apart: those with a partition of one number share its coordinates.
        self._by_number: defaultdict[int, list[Partition]] = defaultdict(list)
        for part in self._partitions:
            self._by_number[part.entry.partition].append(part)
        self._quarantine_seen = 0
        self._unprovable: Counter[tuple[str, int]] = Counter()  # by the ledger's counter and the partition's number
        self.report.unreadable_offsets = sum(part.lost for part in self._partitions)
        next_offsets = {(entry.topic, entry.partition): entry.next_offset for entry in entries}
        self.report.not_yet_stored = sum(
            max(0, end - next_offsets.get(where, first))
            for where, (first, end) in bounds.items()
            if where[0] == settings.kafka_topic
        )

    def read_topics(self, progress: Progress) -> None:
        total, done = sum(part.size for part in self._partitions), 0
        for part in self._partitions:
            of_topic = msgspec.structs.replace(self._settings, kafka_topic=part.entry.topic)
            start, end = part.start, part.entry.next_offset
            chunks = _chunks(topic.read(of_topic, part.entry.partition, start, end), end)
            for records, chunk_end in _read_ahead(chunks):
                self._account(part, records, start, chunk_end)
                done += chunk_end - start
                start = chunk_end
                progress(done, total)

    def _account(self, part: Partition, records: Sequence[Record], start: int, end: int) -> None:
        """Account for the records of these offsets, which are all that the topic holds there."""
        report = self.report
        report.records += len(records)
        others, replayed = self._check_quarantine(part, records, start, end)
        # What ORDER_RANGES=enforce rejected is in the quarantine, and dealt with; what was stored before the setting
        # was changed stays stored. So here the contract decides without it.
        results = read([record.value for record in others]).results
        rows = orders.find(self._connection, [result.order_id for result in results if isinstance(result, Order)])
        peers = [peer for peer in self._by_number[part.entry.partition] if peer is not part]
        stored = duplicates = 0
        for record, result in zip(others, results, strict=True):
            if not isinstance(result, Order):
                where = "was replayed" if record.offset in replayed else "is not in the quarantine"
                what = f"breaks the contract ({result.reason}: {result.message}), but {where}"
                report.add("missing", _finding(part, record.offset, what))
                continue
            row = rows.get(result.order_id)
            if row is None:
                what = "was replayed, but is not stored" if record.offset in replayed else _NOWHERE
                report.add("missing", _finding(part, record.offset, what, result.order_id))
                continue
            is_own = (row.offset, row.partition) == (record.offset, record.partition) and not any(
                peer.owns(record.offset, result.order_id) for peer in peers
            )
            if is_own:
                part.own(record.offset, result.order_id)
            if row.order != result.row():
                fields = differences(result, row.order)
                what = f"is stored with another {', '.join(fields)}"
                if not is_own:
                    what += ", by another record; so it should be in the quarantine"
                found = _finding(part, record.offset, what, result.order_id)
                report.add("different", msgspec.structs.replace(found, fields=fields))
            elif is_own:
                stored += 1
            else:
                duplicates += 1
        report.stored += stored
        report.duplicates += duplicates
        part.found["duplicates"] += duplicates

    def _check_quarantine(
        self, part: Partition, records: Sequence[Record], start: int, end: int
    ) -> tuple[list[Record], set[int]]:
        """The records of these offsets that should be stored, and which of them were replayed, with what was."""
        number = part.entry.partition
        kept = snapshot.quarantined(self._connection, part.entry.topic_id, number, start, end)
        self._quarantine_seen += len(kept)
        others: list[Record] = []
        replayed: set[int] = set()
        for record in records:
            row = kept.pop(record.offset, None)
            if row is None:
                others.append(record)
                continue
            part.quarantine(record.offset)
            if row.status == "replayed":
                self.report.replayed += 1
                replayed.add(record.offset)
                others.append(record if row.mended is None else record._replace(value=row.mended))
            else:
                self.report.quarantined += 1
                self.report.discarded += row.status == "discarded"
                self.report.by_reason[row.reason] = self.report.by_reason.get(row.reason, 0) + 1
            if not row.resolved_in_order:
                what = f"is {row.status} in the quarantine, but not by who and when it says: it was changed by hand"
                self.report.add("quarantine", _finding(part, record.offset, what, row.order_id))
            changed = [name for name in ("key", "value") if getattr(row, name) != getattr(record, name)]
            if changed:
                what = f"is in the quarantine with another {' and '.join(changed)}"
                self.report.add("quarantine", _finding(part, record.offset, what, row.order_id))
        for offset, row in kept.items():
            what = "is in the quarantine, but the topic has no such record"
            self.report.add("quarantine", _finding(part, offset, what, row.order_id))
        return others, replayed

    def look_for_extra_rows(self) -> None:
        rows, self.report.adopted = snapshot.count_orders(self._connection)
        if rows == self.report.adopted + sum(part.found["stored"] for part in self._partitions):
            return
        for order_id, number, offset in snapshot.every_order(self._connection):
            if number == _ADOPTED:
                continue
            if number is None or offset is None:
                self.report.add("extra", Finding(what="was added by hand: it has no coordinates", order_id=order_id))
                continue
            peers = self._by_number.get(number, [])
            if any(peer.owns(offset, order_id) for peer in peers):
                continue
            if any(peer.has_lost(offset) for peer in peers):
                self._unprovable["stored", number] += 1
                continue
            topics = ", ".join(peer.entry.topic for peer in peers) or None
            what = _why_extra(offset, peers)
            self.report.add(
                "extra", Finding(what=what, topic=topics, partition=number, offset=offset, order_id=order_id)
            )

    def look_for_extra_quarantine(self) -> None:
        if snapshot.count_quarantine(self._connection) == self._quarantine_seen:
            return
        known = {(part.entry.topic_id, part.entry.partition): part for part in self._partitions}
        for row in snapshot.every_quarantined(self._connection):
            part = known.get((row.topic_id, row.partition))
            if part and part.has_lost(row.offset):
                self._unprovable["quarantined", row.partition] += 1
            elif not part or not part.reads(row.offset):
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
            for counter in ("stored", "duplicates", "quarantined"):
                told = sum(getattr(part.entry, counter) for part in parts)
                found = sum(part.found[counter] for part in parts) + self._unprovable[counter, number]
                # Duplicates leave no row: those whose record is gone cannot be counted.
                if counter == "duplicates" and any(part.lost for part in parts):
                    told = min(told, found)
                if told != found:
                    what = f"the ledger counts {told:,} {counter}, {found:,} were found"
                    self.report.add("counters", Finding(what=what, topic=topics, partition=number))

    def _check_losses(self) -> None:
        wrong = [("the ledger does not know the partition", loss) for loss in self._unknown_losses]
        for part in self._partitions:
            end = part.entry.first_offset
            for loss in part.losses:
                if loss.topic_id != part.entry.topic_id or loss.first_offset < end or loss.end_offset > part.start:
                    wrong.append(("they overlap with others, or with what the topic holds", loss))
                end = loss.end_offset
        for why, loss in wrong:
            what = f"offsets {loss.first_offset} to {loss.end_offset - 1} cannot be lost: {why}"
            self.report.add("counters", Finding(what=what, topic=loss.topic, partition=loss.partition))

    def compare_rollup(self) -> None:
        count, listed = snapshot.rollup_differences(self._connection, LISTED)
        self.report.counts["rollup"] = count
        self.report.rollup = [
            Finding(
                what=f"the rollup of {row.minute} {row.category!a} less the orders table is {row.orders:+,} orders,"
                f" {row.units:+,} units, {row.revenue:+,} revenue",
                partition=row.partition,
            )
            for row in listed
        ]


def _bounds(settings: Settings, entries: Iterable[Entry]) -> dict[tuple[str, int], Bounds]:
    """What can be read of each partition of KAFKA_TOPIC and of the ledger."""
    info = topic.describe(settings)
    found = {(info.name, number): bound for number, bound in topic.bounds(settings, info.partitions).items()}
    for name, group in groupby(entries, lambda entry: entry.topic):
        some = list(group)
        if name == settings.kafka_topic:
            check_topic_id(name, info.topic_id, some[0].topic_id)
        else:
            found |= _bounds_of_former(msgspec.structs.replace(settings, kafka_topic=name), some)
        for entry in some:
            end = found.setdefault((name, entry.partition), Bounds(0, 0)).end
            if end < entry.next_offset:
                raise OffsetsLost(
                    f"{name} partition {entry.partition} ends at offset {end}, but the ledger accounts for its records"
                    f" up to {entry.next_offset}.",
                    hint="Its last records are gone, and the next ones take their offsets. Restore the topic, or"
                    " give the table up with another MYSQL_TABLE.",
                )
    return found


def _bounds_of_former(settings: Settings, entries: Sequence[Entry]) -> dict[tuple[str, int], Bounds]:
    """What can be read of a topic that filled this table before; nothing, if it is gone."""
    try:
        check_topic_id(settings.kafka_topic, topic.describe(settings).topic_id, entries[0].topic_id)
    except (TopicMissing, TopicRecreated):
        return {(entry.topic, entry.partition): Bounds(entry.next_offset, entry.next_offset) for entry in entries}
    bounds = topic.bounds(settings, [entry.partition for entry in entries])
    return {(settings.kafka_topic, number): bound for number, bound in bounds.items()}


def _chunks(records: Iterable[Record], end: int) -> Iterator[_Chunk]:
    """The records in lists, each with the offset at which the next begins; the last reaches to `end`."""
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.value or b"") + len(record.key or b"")
        if len(chunk) == _CHUNK or size >= _CHUNK_BYTES:
            yield chunk, record.offset + 1
            chunk, size = [], 0
    yield chunk, end


def _read_ahead(chunks: Iterator[_Chunk]) -> Iterator[_Chunk]:
    """The same, one ahead: the database's answers are waited for while Kafka's are read (a fifth faster)."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(next, chunks, None)
            yield chunk


def _finding(part: Partition, offset: int, what: str, order_id: str | None = None) -> Finding:
    return Finding(what=what, topic=part.entry.topic, partition=part.entry.partition, offset=offset, order_id=order_id)


def _why_extra(offset: int, peers: Iterable[Partition]) -> str:
    if any(peer.is_quarantined(offset) for peer in peers):
        return "is stored, though the record at its coordinates is in the quarantine"
    if any(peer.reads(offset) for peer in peers):
        return "is not the order of the record at its coordinates"
    return "has coordinates that the ledger does not account for"
