"""A quarantined record as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orderflow.cli.text import to_json

if TYPE_CHECKING:
    from orderflow.store.quarantine import QuarantineEntry, RecordContent


def to_json_line(entry: QuarantineEntry, content: RecordContent | None = None) -> str:
    """Return one line of JSON. With its content, bytes are in base64, and the value is also text if it is UTF-8."""
    columns = {
        name: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
        for name, value in entry._asdict().items()
        if name != "chunks"
    }
    if content:
        columns |= content._asdict() | {"value_text": _text(content.value)}
    return to_json(columns)


def _text(data: bytes | None) -> str | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None
