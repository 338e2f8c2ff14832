"""What an audit found."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from orderflow.store.ledger import Loss

LISTED = 100  # findings of a kind that are listed; all are counted

Kind = Literal["missing", "different", "extra", "quarantine", "counters", "rollup"]


class Values(msgspec.Struct, frozen=True):
    """A field whose values differ, as text."""

    record: str
    table: str


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference: where, of which order, and what. Texts come from messages and tables as they are."""

    what: str
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    order_id: str | None = None
    fields: dict[str, Values] = {}


class Report(msgspec.Struct, kw_only=True):
    """Every record of the topic, accounted for; and what the tables hold besides.

    records = stored + duplicates + quarantined + missing + different: each record has one place. One that was
    replayed has left the quarantine, and is stored or a duplicate; `replayed` says how many of these there are, and
    `discarded` how many of the quarantined were given up. Of the findings of each kind the first hundred are
    listed, and `counts` tells how many there are:

    - missing: records that are neither stored nor in the quarantine
    - different: records whose order_id is stored with other fields, and that are not in the quarantine
    - extra: rows of the orders table that no record accounts for
    - quarantine: rows of the quarantine without a record, with other bytes than the record's, or whose status was
      changed by hand
    - counters: partitions whose counters in the ledger are not what was found, or whose losses cannot be
    - rollup: minutes whose sums are not those of the orders table
    """

    records: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    replayed: int = 0
    discarded: int = 0
    by_reason: dict[str, int] = {}  # of the quarantined
    lost_offsets: int = 0  # gone from the topic before they were read; somebody accepted it
    losses: list[Loss] = []
    unreadable_offsets: int = 0  # accounted for by the ledger, but gone from the topic since
    unprovable: int = 0  # rows of orders and quarantine whose record is among them
    adopted: int = 0  # rows that were there before OrderFlow took the table over
    not_yet_stored: int = 0  # offsets of KAFKA_TOPIC beyond the ledger's position
    counts: dict[Kind, int] = msgspec.field(default_factory=lambda: dict.fromkeys(get_args(Kind), 0))
    missing: list[Finding] = []
    different: list[Finding] = []
    extra: list[Finding] = []
    quarantine: list[Finding] = []
    counters: list[Finding] = []
    rollup: list[Finding] = []

    def add(self, kind: Kind, finding: Finding, count: int = 1) -> None:
        """Count `count` findings, and list this one while there are few."""
        self.counts[kind] += count
        if len(self.listed(kind)) < LISTED:
            self.listed(kind).append(finding)

    def listed(self, kind: Kind) -> list[Finding]:
        """The findings of this kind, a hundred at most."""
        findings: list[Finding] = getattr(self, kind)
        return findings

    @property
    def proven(self) -> bool:
        """Whether everything that can be re-read is accounted for, and nothing else is in the tables."""
        return not any(self.counts.values())

    def summary(self) -> dict[str, Any]:
        """The report as JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        losses = [msgspec.to_builtins(loss._asdict()) for loss in self.losses]
        return {"proven": self.proven, **values, "losses": losses}

    def sentence(self) -> str:
        """The result in one sentence, or two."""
        if not self.proven:
            found = ", ".join(f"{count:,} {_NOUNS[kind]}" for kind, count in self.counts.items() if count)
            return f"Not proven: among {self.records:,} records and the tables, {found}."
        sum_ = f"{self.stored:,} stored + {self.duplicates:,} duplicates + {self.quarantined:,} quarantined"
        said = f"Proven: {self.records:,} records = {sum_}."
        if self.replayed or self.discarded:
            said += (
                f" {self.replayed:,} of the stored and duplicates came back from the quarantine;"
                f" {self.discarded:,} of the quarantined are discarded."
            )
        if self.lost_offsets:
            said += f" {self.lost_offsets:,} offsets were lost before they were read, and that was accepted."
        if self.unreadable_offsets:
            said += (
                f" {self.unreadable_offsets:,} older offsets are gone from the topic,"
                f" so {self.unprovable:,} rows can no longer be proven."
            )
        return said


_NOUNS: dict[Kind, str] = {
    "missing": "missing",
    "different": "different",
    "extra": "extra",
    "quarantine": "wrong in the quarantine",
    "counters": "wrong in the ledger",
    "rollup": "wrong in the rollup",
}
