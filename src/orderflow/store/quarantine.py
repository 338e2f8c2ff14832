"""The quarantine: records that are not valid orders, stored unchanged with the reason until replayed or discarded.

No record is ever deleted. If a record is too large for one of the server's packets (16 MB by MariaDB's default), its
row holds the beginning of its key, value and headers, and rows of `…_quarantine_chunks` hold the rest. Rejected: LOAD
DATA, which accepts fields of any size, but needs local_infile; and CONCAT, whose result has the packet's limit.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from orderflow.errors import InputInvalid, RecordRejected
from orderflow.store.connection import Connection, estimated_bytes, split_by_size
from orderflow.store.record_batch import RecordBatch, produced_at
from orderflow.store.statements import placeholders_for
from orderflow.store.topic_reader import TopicReader

_STATEMENT_BYTES = 1024 * 1024  # larger statements bring no gain
_DETAIL_BYTES = 65_535  # size of the column detail
_IDS = 1000  # ids in a statement
_FIELDS = ("record_key", "record_value", "record_headers")

Status = Literal["open", "replayed", "discarded"]
_Fields = tuple[bytes | None, bytes | None, bytes | None]


class RecordToQuarantine(NamedTuple):
    """A record of a batch that goes to the quarantine: its batch index, the reason, and its order_id if it has one."""

    batch_index: int
    rejection: RecordRejected
    order_id: str | None = None


class QuarantineEntry(NamedTuple):
    """A row of the quarantine without the record itself. Times are UTC, naive, as the server returns them."""

    quarantine_id: int
    topic: str
    topic_id: str
    partition: int
    offset: int
    produced_at: datetime | None
    quarantined_at: datetime
    reason: str
    detail: str
    order_id: str | None
    status: Status
    resolved_by: str | None
    resolved_at: datetime | None
    resolved_because: str | None
    chunks: int


class RecordContent(NamedTuple):
    """The record as it arrived, and the value that was replayed in its place."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    corrected: bytes | None


class QuarantineFilter(NamedTuple):
    """Which entries to select; None means any. `since` <= time of quarantine (UTC) < `until`."""

    status: Status | None = "open"
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    partition: int | None = None
    order_id: str | None = None


def insert(
    connection: Connection,
    topic_reader: TopicReader,
    batch: RecordBatch,
    records: Sequence[RecordToQuarantine],
    quarantined_at: datetime,
) -> None:
    """Store these records of the batch."""
    if records:
        rows = _rows(connection, topic_reader, batch, records, quarantined_at)
        for portion in split_by_size(rows, estimated_bytes, min(_STATEMENT_BYTES, connection.max_values_bytes)):
            connection.execute_rows("insert_quarantine", portion)


def _rows(
    connection: Connection,
    topic_reader: TopicReader,
    batch: RecordBatch,
    records: Sequence[RecordToQuarantine],
    quarantined_at: datetime,
) -> Iterator[tuple[object, ...]]:
    """Yield the records as rows, after storing the chunks of a record that is too large for a row."""
    for batch_index, rejection, order_id in records:
        coordinates = {
            "topic_id": topic_reader.topic_id,
            "partition": batch.partitions[batch_index],
            "offset": batch.offsets[batch_index],
        }
        fields: _Fields = (batch.keys[batch_index], batch.values[batch_index], _headers(batch, batch_index))
        other_columns = (
            produced_at(batch.timestamps[batch_index]),
            quarantined_at,
            rejection.reason,
            _detail(rejection),
            order_id,
        )
        chunks: list[dict[str, object]] = []
        if (
            estimated_bytes((topic_reader.topic, *coordinates.values(), *fields, *other_columns))
            > connection.max_values_bytes
        ):
            share = connection.max_values_bytes // 8  # three fields and the detail, at two bytes each
            chunks = [
                chunk for name, field in zip(_FIELDS, fields, strict=True) for chunk in _chunks(name, field, share)
            ]
            fields = tuple(field and field[:share] for field in fields)  # type: ignore[assignment]
        for chunk in chunks:
            connection.execute("insert_chunk", coordinates | chunk)
        yield (topic_reader.topic, *coordinates.values(), *fields, *other_columns, len(chunks))


def set_conflict(
    connection: Connection, quarantine_id: int, rejection: RecordRejected, order_id: str, contract_id: int
) -> None:
    """Set the reason of an entry whose replay found a conflict, so that a search for conflicts finds it.

    The contract's version shows the audit that a replay set the reason.
    """
    values: dict[str, object] = {"reason": rejection.reason, "detail": _detail(rejection), "order_id": order_id}
    connection.execute("set_conflict", {**values, "reason_contract_id": contract_id, "quarantine_id": quarantine_id})


def _detail(rejection: RecordRejected) -> str:
    """Return the rejection's sentence, shortened if it is too long for the column: it may show many long texts."""
    encoded = rejection.message.encode()
    if len(encoded) <= _DETAIL_BYTES:
        return rejection.message
    return encoded[: _DETAIL_BYTES - len("…".encode())].decode(errors="ignore") + "…"


def join_chunks(
    connection: Connection, topic_id: str, partition: int, offset: int, fields: Sequence[bytes | None]
) -> list[bytes | None]:
    """Return key, value and headers, each with its chunks appended if the row has chunks."""
    chunks: defaultdict[str, list[bytes]] = defaultdict(list)
    coordinates = {"topic_id": topic_id, "partition": partition, "offset": offset}
    for name, chunk in connection.execute("select_chunks", coordinates).rows:
        chunks[name].append(chunk)
    return [
        b"".join([field or b"", *chunks[name]]) if chunks[name] else field
        for name, field in zip(_FIELDS, fields, strict=False)
    ]


def read_matching(connection: Connection, wanted: QuarantineFilter) -> Iterator[QuarantineEntry]:
    """Yield the entries by quarantine_id. The caller may use the connection in between."""
    for page in read_pages(connection, wanted):
        connection.rollback()  # otherwise the tables stay locked against ALTER TABLE
        yield from page


def read_pages(connection: Connection, wanted: QuarantineFilter) -> Iterator[list[QuarantineEntry]]:
    """Yield the matching entries by quarantine_id, in lists of up to 1,000, all in the same transaction."""
    last_id = 0
    while rows := connection.execute("select_quarantine_page", {"after_id": last_id, **wanted._asdict()}).rows:
        yield [QuarantineEntry(*row) for row in rows]
        last_id = rows[-1][0]


def count(connection: Connection, wanted: QuarantineFilter) -> int:
    """Return the number of matching entries."""
    return int(connection.execute("count_quarantine_matching", {"after_id": 0, **wanted._asdict()}).rows[0][0])


def read_by_id(connection: Connection, quarantine_ids: Sequence[int]) -> list[QuarantineEntry]:
    """Return the entries with these ids.

    Raises InputInvalid if one does not exist.
    """
    entries: list[QuarantineEntry] = []
    for start in range(0, len(quarantine_ids), _IDS):
        id_portion = quarantine_ids[start : start + _IDS]
        rows = connection.execute("select_quarantine_ids", id_portion, ids=placeholders_for(id_portion)).rows
        entries += [QuarantineEntry(*row) for row in rows]
    connection.rollback()
    if unknown := sorted({*quarantine_ids} - {entry.quarantine_id for entry in entries}):
        raise InputInvalid(
            f"The quarantine has no record {', '.join(map(str, unknown))}.", hint="See `orderflow quarantine list`."
        )
    return entries


def read_content(connection: Connection, entry: QuarantineEntry) -> RecordContent:
    """Return the entry's record."""
    *fields, corrected = connection.execute("select_quarantine_record", {"quarantine_id": entry.quarantine_id}).rows[0]
    if entry.chunks:
        fields = join_chunks(connection, entry.topic_id, entry.partition, entry.offset, fields)
    connection.rollback()
    key, value, headers = fields
    decoded = [(name, None if text is None else base64.b64decode(text)) for name, text in json.loads(headers or "[]")]
    return RecordContent(key, value, decoded, corrected)


def discard(connection: Connection, quarantine_ids: Sequence[int], *, by: str, because: str) -> int:
    """Discard those of the entries that are open, and return their number. The records stay."""
    changed = 0
    for start in range(0, len(quarantine_ids), _IDS):
        id_portion = quarantine_ids[start : start + _IDS]
        changed += connection.execute(
            "resolve_discarded", (by, because, *id_portion), ids=placeholders_for(id_portion)
        ).changed
        connection.commit()
    return changed


def _chunks(name: str, field: bytes | None, inline_bytes: int) -> Iterator[dict[str, object]]:
    """Yield what exceeds the first `inline_bytes` of the field, as values of insert_chunk."""
    for number, start in enumerate(range(inline_bytes, len(field or b""), 3 * inline_bytes)):
        yield {"field": name, "chunk_index": number, "bytes": (field or b"")[start : start + 3 * inline_bytes]}


def _headers(batch: RecordBatch, batch_index: int) -> bytes | None:
    if batch.headers is None or not batch.headers[batch_index]:
        return None
    encoded = [
        [name, None if value is None else base64.b64encode(value).decode()]
        for name, value in batch.headers[batch_index]
    ]
    return json.dumps(encoded).encode()
