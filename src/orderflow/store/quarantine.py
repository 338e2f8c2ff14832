"""Records that are not orders: kept as they came, with the reason, until somebody replays or discards them.

Nothing is ever deleted. A record too large for one of the server's packets (16 MB by MariaDB's default) has the
beginning of its key, value and headers in its row, and the rest in rows of `…_record_parts`. Rejected: LOAD DATA,
which takes fields of any size, but not where local_infile is off; and CONCAT, whose result has the packet's limit.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from orderflow.errors import InputInvalid, RecordRejected
from orderflow.store.connection import Connection
from orderflow.store.orders import produced_at
from orderflow.store.run import Run, Source
from orderflow.store.statements import marks

_STATEMENT_BYTES = 1024 * 1024  # larger ones gain nothing
_FRAME_BYTES = 8192  # of a packet, for all that is not key, value or headers
_IDS = 1000  # per statement
_FIELDS = ("record_key", "record_value", "record_headers")

Status = Literal["open", "replayed", "discarded"]
_Fields = tuple[bytes | None, bytes | None, bytes | None]


class Bad(NamedTuple):
    """A record of a run that goes to the quarantine: its place in the run, why, and its order_id if it has one."""

    place: int
    rejected: RecordRejected
    order_id: str | None = None


class Entry(NamedTuple):
    """A row of the quarantine without the record itself. Times are UTC, naive, as the server gives them."""

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
    parts: int


class Content(NamedTuple):
    """The record as it came, and what was replayed in its value's place."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    mended: bytes | None


class Filter(NamedTuple):
    """Which entries are meant; None means any. `since` <= time of quarantine (UTC) < `until`."""

    status: Status | None = "open"
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    partition: int | None = None
    order_id: str | None = None


def insert(connection: Connection, source: Source, run: Run, bad: Sequence[Bad], at: datetime) -> None:
    """Keep the records of the run that `bad` names."""
    if not bad:
        return
    packet = int(connection.run("select_max_packet").rows[0][0])
    room = max(packet - _FRAME_BYTES, packet // 2)
    rows: list[tuple[object, ...]] = []
    size = 0
    for place, rejected, order_id in bad:
        fields: _Fields = (run.keys[place], run.values[place], _headers(run, place))
        parts: list[tuple[str, int, bytes]] = []
        # In SQL's text a byte may take two.
        weight = 2 * (sum(map(len, filter(None, fields))) + len(rejected.message.encode())) + 500
        if weight > room:
            share = room // 8  # three fields and the detail, at two bytes each
            parts = [part for name, field in zip(_FIELDS, fields, strict=True) for part in _parts(name, field, share)]
            fields = tuple(field and field[:share] for field in fields)  # type: ignore[assignment]
            weight = room
        if rows and size + weight > min(_STATEMENT_BYTES, room):
            connection.run_rows("insert_quarantine", rows)
            rows, size = [], 0
        rows.append(
            (
                *(source.topic, source.topic_id, run.partitions[place], run.offsets[place], *fields),
                *(produced_at(run.timestamps[place]), at, rejected.reason, rejected.message, order_id, len(parts)),
            )
        )
        size += weight
        for part in parts:
            connection.run("insert_part", (source.topic_id, run.partitions[place], run.offsets[place], *part))
    connection.run_rows("insert_quarantine", rows)


def whole(
    connection: Connection, topic_id: str, partition: int, offset: int, fields: Sequence[bytes | None]
) -> list[bytes | None]:
    """Key, value and headers with their parts put to their beginnings, where the row says that there are parts."""
    rest: defaultdict[str, list[bytes]] = defaultdict(list)
    for name, part in connection.run("select_parts", (topic_id, partition, offset)).rows:
        rest[name].append(part)
    return [
        b"".join([field or b"", *rest[name]]) if rest[name] else field
        for name, field in zip(_FIELDS, fields, strict=False)
    ]


def matching(connection: Connection, wanted: Filter) -> Iterator[Entry]:
    """The entries, by quarantine_id, a page at a time. The connection may be used in between."""
    last = 0
    while rows := connection.run("select_quarantine_page", (last, *_values(wanted))).rows:
        connection.rollback()  # lest the tables stay locked against changes of their shape
        yield from (Entry(*row) for row in rows)
        last = rows[-1][0]


def count(connection: Connection, wanted: Filter) -> int:
    """How many there are."""
    return int(connection.run("count_quarantine_matching", (0, *_values(wanted))).rows[0][0])


def get(connection: Connection, quarantine_ids: Sequence[int]) -> list[Entry]:
    """The entries of these ids.

    Raises InputInvalid if one is not there.
    """
    found: list[Entry] = []
    for start in range(0, len(quarantine_ids), _IDS):
        some = quarantine_ids[start : start + _IDS]
        rows = connection.run("select_quarantine_ids", some, ids=marks(some)).rows
        found += [Entry(*row) for row in rows]
    connection.rollback()
    if unknown := sorted({*quarantine_ids} - {entry.quarantine_id for entry in found}):
        raise InputInvalid(
            f"The quarantine has no record {', '.join(map(str, unknown))}.", hint="See `orderflow quarantine list`."
        )
    return found


def content(connection: Connection, entry: Entry) -> Content:
    """The entry's record."""
    *fields, mended = connection.run("select_quarantine_record", (entry.quarantine_id,)).rows[0]
    if entry.parts:
        fields = whole(connection, entry.topic_id, entry.partition, entry.offset, fields)
    connection.rollback()
    key, value, headers = fields
    told = [(name, None if text is None else base64.b64decode(text)) for name, text in json.loads(headers or "[]")]
    return Content(key, value, told, mended)


def discard(connection: Connection, quarantine_ids: Sequence[int], *, by: str, because: str) -> int:
    """Give up those of the entries that are open; gives back how many these were. The records stay."""
    changed = 0
    for start in range(0, len(quarantine_ids), _IDS):
        some = quarantine_ids[start : start + _IDS]
        changed += connection.run("resolve_discarded", (by, because, *some), ids=marks(some)).changed
        connection.commit()
    return changed


def _values(wanted: Filter) -> tuple[object, ...]:
    return (*wanted[:3], wanted.until, *wanted[3:])


def _parts(name: str, field: bytes | None, share: int) -> Iterator[tuple[str, int, bytes]]:
    """What goes beyond the row's share of the field, as (field, number, bytes)."""
    for number, start in enumerate(range(share, len(field or b""), 3 * share)):
        yield name, number, (field or b"")[start : start + 3 * share]


def _headers(run: Run, place: int) -> bytes | None:
    if run.headers is None or not run.headers[place]:
        return None
    told = [[name, None if value is None else base64.b64encode(value).decode()] for name, value in run.headers[place]]
    return json.dumps(told).encode()
