"""Checks of the accepted losses: whether their offsets can be lost, and the ledger's number of them."""

from __future__ import annotations

from orderflow import topic
from orderflow.audit.partition import Partition
from orderflow.audit.report import Finding, Report
from orderflow.audit.scope import Scope
from orderflow.plurals import counted
from orderflow.settings import Settings
from orderflow.store.ledger import Loss


def check_losses(scope: Scope, report: Report) -> None:
    """Check that no record that was read, and no other loss, has the offsets of a loss."""
    impossible = [("the ledger has no such partition", loss) for loss in scope.unknown_losses]
    for part in scope.partitions:
        end = part.entry.first_offset
        for loss in part.losses:
            is_separate = loss.topic_id == part.entry.topic_id and loss.first_offset >= end
            if loss.first_offset >= loss.end_offset:
                impossible.append(("the range is empty", loss))
            elif not is_separate or not part.may_be_lost(loss):
                impossible.append(("they overlap with other losses, or with records of the topic", loss))
            end = loss.end_offset
        lost = sum(loss.end_offset - loss.first_offset for loss in part.losses)
        if part.checks.lost is not None and part.checks.lost != lost:
            description = (
                f"the ledger counts {counted(part.checks.lost, 'lost offset')}, but the accepted losses have {lost:,}"
            )
            report.add("counters", part.finding(description))
    for why, loss in impossible:
        description = f"offsets {loss.first_offset} to {loss.end_offset - 1} cannot be lost: {why}"
        report.add("counters", Finding(description=description, topic=loss.topic, partition=loss.partition))


def find_damaged(settings: Settings, part: Partition) -> list[Loss]:
    """The partition's losses that its topic, KAFKA_TOPIC of these settings, still has but that cannot be read."""
    return [
        loss
        for loss in part.losses
        if loss in part.damaged or (loss.end_offset > part.position and _is_damaged(settings, part, loss))
    ]


def _is_damaged(settings: Settings, part: Partition, loss: Loss) -> bool:
    """Whether the offsets of this loss that the topic still has cannot be read."""
    damage = topic.find_damage(settings, loss.partition, max(loss.first_offset, part.position))
    return damage is not None and loss.end_offset <= damage.end
