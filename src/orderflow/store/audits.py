"""The results of audits, kept so that dashboard and metrics know of them."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from orderflow.store.connection import Connection


class Audit(msgspec.Struct, frozen=True):
    """An audit's result; `findings` is the number of differences found."""

    audited_at: datetime
    proven: bool
    records: int
    findings: int
    sentence: str


def record(connection: Connection, *, proven: bool, records: int, findings: int, sentence: str) -> None:
    """Keep the result of an audit that has just ended."""
    connection.run("insert_audit", (proven, records, findings, sentence))
    connection.commit()


def last(connection: Connection) -> Audit | None:
    """The newest result; None if there is none."""
    for audited_at, proven, *rest in connection.run("select_last_audit").rows:
        return Audit(audited_at.replace(tzinfo=UTC), bool(proven), *rest)
    return None
