"""Audit results, stored for the dashboard and the metrics."""

from __future__ import annotations

import re
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

    @property
    def agrees(self) -> bool:
        """Whether the columns are consistent: a manual change to one usually contradicts another."""
        proven = self.sentence.startswith("Proven: ")
        if not self.proven == proven == (self.findings == 0) or f" {self.records:,} record" not in self.sentence:
            return False
        counts = self.sentence.partition(" and the tables, ")[2].partition(".")[0]
        return not counts or self.findings == sum(
            int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", counts)
        )


def record(connection: Connection, *, proven: bool, records: int, findings: int, sentence: str) -> None:
    """Store the result of a completed audit."""
    values = {"proven": proven, "records": records, "findings": findings, "sentence": sentence}
    connection.execute("insert_audit", values)
    connection.commit()


def last(connection: Connection) -> Audit | None:
    """Return the newest result, or None if there is none."""
    for audited_at, proven, *rest in connection.execute("select_last_audit").rows:
        return Audit(audited_at.replace(tzinfo=UTC), bool(proven), *rest)
    return None
