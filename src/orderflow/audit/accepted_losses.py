"""Checks of the accepted losses: whether their offsets can be lost, and the ledger's number of them."""

from __future__ import annotations

from orderflow import topic
from orderflow.audit.partition import AuditedPartition
from orderflow.audit.report import Finding, Report
from orderflow.audit.scope import Scope
from orderflow.plurals import counted
from orderflow.settings import Settings
from orderflow.store.ledger import Loss


def check_losses(scope: Scope, report: Report) -> None:
    """Check that no record that was read, and no other loss, has the offsets of a loss."""
    impossible = [("the ledger has no such partition", loss) for loss in scope.unknown_losses]
    for partition in scope.partitions:
        end = partition.entry.first_offset
        for loss in partition.losses:
            is_separate = loss.topic_id == partition.entry.topic_id and loss.first_offset >= end
            if loss.first_offset >= loss.end_offset:
                impossible.append(("the range is empty", loss))
            elif not is_separate or not partition.may_be_lost(loss):
                impossible.append(("they overlap with other losses, or with records of the topic", loss))
            end = loss.end_offset
        accepted = sum(loss.end_offset - loss.first_offset for loss in partition.losses)
        in_ledger = partition.control_values.lost
        if in_ledger is not None and in_ledger != accepted:
            offsets = counted(in_ledger, "lost offset")
            description = f"the ledger counts {offsets}, but the accepted losses have {accepted:,}"
            report.add("counters", partition.finding(description))
    for fault, loss in impossible:
        description = f"offsets {loss.first_offset} to {loss.end_offset - 1} cannot be lost: {fault}"
        report.add("counters", Finding(description=description, topic=loss.topic, partition=loss.partition))


def find_damaged(settings: Settings, partition: AuditedPartition) -> list[Loss]:
    """Return the partition's losses that KAFKA_TOPIC of these settings still has, but that cannot be read."""
    return [
        loss
        for loss in partition.losses
        if loss in partition.damaged
        or (loss.end_offset > partition.next_to_read and _is_damaged(settings, partition, loss))
    ]


def _is_damaged(settings: Settings, partition: AuditedPartition, loss: Loss) -> bool:
    """Whether the offsets of this loss that the topic still has cannot be read."""
    damage = topic.find_damage(settings, loss.partition, max(loss.first_offset, partition.next_to_read))
    return damage is not None and loss.end_offset <= damage.end
