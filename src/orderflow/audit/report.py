"""The report of an audit."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from orderflow.plurals import counted
from orderflow.store import audits
from orderflow.store.ledger import Loss

LISTED = 100  # findings of a kind that are listed; all are counted

FindingKind = Literal[
    "missing", "different", "extra", "adoption", "quarantine", "counters", "rollup", "tables", "topics"
]


class DifferingValues(msgspec.Struct, frozen=True):
    """A field whose values differ, as text."""

    record: str
    table: str


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"description": "what"}):
    """One difference, with coordinates and order_id if known. Texts of messages and tables are not escaped."""

    description: str
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    order_id: str | None = None
    fields: dict[str, DifferingValues] = {}


class Report(msgspec.Struct, kw_only=True):
    """The result for every record of the topic, and the differences found in the tables.

    records = stored + duplicates + quarantined + missing + different: each record counts once. A replayed record has
    left the quarantine and counts as stored or duplicate. `replayed` is the number of replayed records, and
    `discarded` is the number of quarantined records that were discarded.

    The first LISTED findings of each kind are listed, and `counts` holds their total numbers:

    - missing: records that are neither stored nor in the quarantine
    - different: records outside the quarantine whose order_id is stored with other fields, coordinates or times
    - extra: rows of the orders table that no record accounts for
    - adoption: adopted rows that differ in number or content from those counted at the adoption
    - quarantine: rows of the quarantine without a record, with bytes, times or texts that differ from the record's,
      with a reason that does not hold, or with a status that was changed by hand
    - counters: partitions whose counters, bounds or times in the ledger differ from what was found, or whose losses
      are impossible
    - rollup: minutes whose sums differ from those of the orders table
    - tables: a table, key, engine or view that differs from OrderFlow's definition; or an inconsistent last audit
    - topics: records that left a topic before they were stored, without an accepted loss; topics that are compacted, so
      that records may be missing which nothing else shows
    """

    records: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    replayed: int = 0
    discarded: int = 0
    by_reason: dict[str, int] = {}  # quarantined records by reason
    lost_offsets: int = 0  # offsets that were never read, and whose loss was accepted
    losses: list[Loss] = []
    # Offsets that the ledger accounts for and that left the topic. The JSON key has the former name.
    removed_offsets: int = msgspec.field(default=0, name="unreadable_offsets")
    unprovable: int = 0  # rows of orders and quarantine whose records are at removed offsets
    adopted: int = 0  # rows that the table already had when OrderFlow adopted it
    before_ledger: int = 0  # offsets before the ledger's first offsets; they are not accounted for
    topics_gone: list[str] = []  # topics of the ledger that do not exist any more
    policies_unknown: list[str] = []  # topics whose cleanup.policy the user may not read
    partitions_unchecked: int = 0  # partitions to which an earlier version wrote without sums of losses and times
    not_yet_stored: int = 0  # offsets of KAFKA_TOPIC beyond the ledger's position
    counts: dict[FindingKind, int] = msgspec.field(default_factory=lambda: dict.fromkeys(get_args(FindingKind), 0))
    missing: list[Finding] = []
    different: list[Finding] = []
    extra: list[Finding] = []
    adoption: list[Finding] = []
    quarantine: list[Finding] = []
    counters: list[Finding] = []
    rollup: list[Finding] = []
    tables: list[Finding] = []
    topics: list[Finding] = []

    def add(self, kind: FindingKind, finding: Finding) -> None:
        """Count the finding, and list it if fewer than LISTED of its kind are listed."""
        self.counts[kind] += 1
        if len(self.listed(kind)) < LISTED:
            self.listed(kind).append(finding)

    def listed(self, kind: FindingKind) -> list[Finding]:
        """Return the listed findings of this kind, LISTED at most."""
        findings: list[Finding] = getattr(self, kind)
        return findings

    @property
    def findings(self) -> int:
        """The number of findings of all kinds."""
        return sum(self.counts.values())

    @property
    def is_proven(self) -> bool:
        """Whether there are no findings: every re-read record is accounted for, and the tables hold nothing else."""
        return not self.findings

    def summary(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        losses = [msgspec.to_builtins(loss._asdict()) for loss in self.losses]
        return {"proven": self.is_proven, **values, "losses": losses}

    def sentence(self) -> str:
        """Return the result in one sentence, followed by notes."""
        beginning = audits.sentence_beginning(is_proven=self.is_proven, records=self.records, findings=self.findings)
        if self.is_proven:
            parts = (
                f"{self.stored:,} stored + {counted(self.duplicates, 'duplicate')} + {self.quarantined:,} quarantined"
            )
        else:
            parts = ", ".join(f"{count:,} {_NOUNS[kind]}" for kind, count in self.counts.items() if count)
        return f"{beginning}{parts}.{self._notes()}"

    def _notes(self) -> str:
        """Return the conditions and limits of the result, as sentences that start with a space."""
        notes = ""
        if self.replayed:
            notes += f" Replayed from the quarantine, so stored or duplicate: {counted(self.replayed, 'record')}."
        if self.discarded:
            notes += f" Discarded, but still quarantined: {counted(self.discarded, 'record')}."
        if self.lost_offsets:
            notes += f" Lost before being read, and accepted: {counted(self.lost_offsets, 'offset')}."
        if self.adopted:
            notes += f" Adopted with the table, without a record: {counted(self.adopted, 'row')}."
        if self.before_ledger:
            notes += (
                f" Before the ledger's first offsets, so not accounted for: {counted(self.before_ledger, 'offset')}."
            )
        if self.removed_offsets:
            notes += (
                f" Gone from the topic: {counted(self.removed_offsets, 'older offset')},"
                f" so {counted(self.unprovable, 'row')} can no longer be proven."
            )
        if self.not_yet_stored:
            notes += f" Beyond the ledger's position, so not checked: {counted(self.not_yet_stored, 'offset')}."
        for name in self.topics_gone:
            notes += f" Topic {name} does not exist any more."
        for name in self.policies_unknown:
            notes += (
                f" The user may not read the cleanup.policy of topic {name}. If it is compact, records may be missing."
            )
        if self.partitions_unchecked:
            notes += (
                f" An earlier version of OrderFlow wrote to {counted(self.partitions_unchecked, 'partition')}:"
                " losses, stored_at and quarantined_at are not checked."
            )
        return notes


_NOUNS: dict[FindingKind, str] = {
    "missing": "missing",
    "different": "different",
    "extra": "extra",
    "adoption": "wrong among the adopted rows",
    "quarantine": "wrong in the quarantine",
    "counters": "wrong in the ledger",
    "rollup": "wrong in the rollup",
    "tables": "wrong in the tables' structure or views",
    "topics": "wrong in the topics",
}
