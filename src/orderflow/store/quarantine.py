"""Records that are not orders: kept as they came, with the reason."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from orderflow.errors import RecordRejected
from orderflow.store.connection import Connection
from orderflow.store.orders import produced_at
from orderflow.store.run import Run, Source

# Rows whose raw bytes exceed this go in a statement of their own, well below the smallest max_allowed_packet in use.
_STATEMENT_BYTES = 1024 * 1024


class Bad(NamedTuple):
    """A record of a run that goes to the quarantine: its place in the run, why, and its order_id if it has one."""

    place: int
    rejected: RecordRejected
    order_id: str | None = None


def insert(connection: Connection, source: Source, run: Run, bad: Sequence[Bad], at: datetime) -> None:
    """Keep the records of the run that `bad` names."""
    for piece in _pieces(run, bad):
        connection.run_rows(
            "insert_quarantine",
            [
                (
                    *(source.topic, source.topic_id, run.partition, run.offsets[place]),
                    *(run.keys[place], run.values[place], _headers(run, place)),
                    *(produced_at(run.timestamps[place]), at, rejected.reason, rejected.message, order_id),
                )
                for place, rejected, order_id in piece
            ],
        )


def _pieces(run: Run, bad: Sequence[Bad]) -> Iterator[Sequence[Bad]]:
    piece: list[Bad] = []
    size = 0
    for one in bad:
        weight = 500 + len(run.values[one.place] or b"") + len(run.keys[one.place] or b"")
        if piece and size + weight > _STATEMENT_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(one)
        size += weight
    if piece:
        yield piece


def _headers(run: Run, place: int) -> str | None:
    if run.headers is None or not run.headers[place]:
        return None
    return json.dumps(
        [[name, None if value is None else base64.b64encode(value).decode()] for name, value in run.headers[place]]
    )
