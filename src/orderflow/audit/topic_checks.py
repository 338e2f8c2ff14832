"""Checks of the topics themselves: compaction, and records that left before they were stored."""

from __future__ import annotations

from collections.abc import Iterable

from orderflow import topic
from orderflow.audit.report import Finding, Report
from orderflow.audit.scope import Scope, with_topic
from orderflow.errors import TopicUnusable
from orderflow.settings import Settings
from orderflow.store import ledger
from orderflow.store.connection import Connection
from orderflow.store.ledger import LedgerEntry


def check_cleanup_policies(settings: Settings, scope: Scope, report: Report) -> None:
    """Check that no topic is compacted: a record that compaction removes leaves no trace."""
    names = {scope.topic.name, *(partition.entry.topic for partition in scope.partitions)}
    for name in sorted(names.difference(scope.topics_gone)):
        try:
            if topic.check_cleanup_policy(with_topic(settings, name)) is None:
                report.policies_unknown.append(name)
        except TopicUnusable as compacted:
            description = f"{compacted.message} So it cannot be proven that every order was stored."
            report.add("topics", Finding(description=description))


def check_removed_records(settings: Settings, scope: Scope, report: Report) -> None:
    """Check that no record left KAFKA_TOPIC before it was stored, unless its loss is accepted."""
    name = scope.topic.name
    if name not in {partition.entry.topic for partition in scope.partitions}:
        return  # the sink has not started yet

    def removed(entries: Iterable[LedgerEntry]) -> dict[int, tuple[int, int]]:
        positions = {entry.partition: entry.next_offset for entry in entries if entry.topic == name}
        return {
            number: (start, bound.first)
            for (topic_name, number), bound in scope.bounds.items()
            if topic_name == name and (start := positions.get(number, 0)) < bound.first
        }

    if not removed(partition.entry for partition in scope.partitions):
        return
    with Connection(settings.for_reading) as connection:  # perhaps a sink has stored them since the snapshot
        for number, (start, end) in removed(ledger.read_entries(connection)).items():
            description = f"offsets {start} to {end - 1} left the topic before they were stored"
            report.add("topics", Finding(description=description, topic=name, partition=number))
