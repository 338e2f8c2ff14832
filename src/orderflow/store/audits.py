"""Audit results, stored for the dashboard and the metrics."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from orderflow.plurals import counted
from orderflow.store.connection import Connection


class Audit(msgspec.Struct, frozen=True):
    """An audit's result; `findings` is the number of differences found."""

    audited_at: datetime
    is_proven: bool = msgspec.field(name="proven")
    records: int
    findings: int
    sentence: str

    @property
    def is_consistent(self) -> bool:
        """Whether the columns are consistent: a manual change to one usually contradicts another."""
        beginnings = [sentence_beginning(is_proven=self.is_proven, records=self.records, findings=self.findings)]
        if not self.is_proven:  # earlier versions; that of 0.1.0 is without the number of findings
            among = f"among {counted(self.records, 'record')} and the tables"
            beginnings += [f"Not proven: {among}, ", f"Not proven: {counted(self.findings, 'finding')} {among}: "]
        return self.is_proven == (self.findings == 0) and self.sentence.startswith(tuple(beginnings))


def sentence_beginning(*, is_proven: bool, records: int, findings: int) -> str:
    """Return how the sentence of an audit with this result begins."""
    if is_proven:
        return f"Proven: {counted(records, 'record')} = "
    return f"Not proven: {counted(records, 'record')} read, {counted(findings, 'finding')}: "


def store(connection: Connection, *, is_proven: bool, records: int, findings: int, sentence: str) -> None:
    """Store the result of a completed audit."""
    values = {"proven": is_proven, "records": records, "findings": findings, "sentence": sentence}
    connection.execute("insert_audit", values)
    connection.commit()


def last(connection: Connection) -> Audit | None:
    """Return the newest result, or None if there is none."""
    for audited_at, proven, records, findings, sentence in connection.execute("select_last_audit").rows:
        return Audit(audited_at.replace(tzinfo=UTC), bool(proven), records, findings, sentence)
    return None
