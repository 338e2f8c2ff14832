"""The status of the pipeline: the ledger's counts and lag, the newest order and the open quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from orderflow.errors import KafkaRefused, KafkaUnavailable, OrderFlowError, TopicMissing, TopicUnusable
from orderflow.positions.ledger_status import LedgerStatus, TopicBounds, compare_ledger, read_topic_bounds
from orderflow.settings import Settings
from orderflow.store import existing_orders, ledger, viewer_queries
from orderflow.store.connection import Connection
from orderflow.store.ledger import LedgerEntry


class Status(LedgerStatus, frozen=True, kw_only=True):
    """The status at one moment: the ledger's, the newest order, and the quarantine.

    `open_by_reason` counts the quarantine's open records, the most frequent reason first; None if they were not read.
    """

    newest_order: str | None
    newest_age_seconds: float | None
    open_by_reason: dict[str, int] | None = None

    def describe_newest(self) -> str | None:
        """The newest order and its age; None without orders."""
        if self.newest_order is None or self.newest_age_seconds is None:
            return None
        seconds = self.newest_age_seconds
        age = f"{abs(seconds):,.0f} s " + ("old" if seconds > -0.5 else "in the future")
        return f"{self.newest_order}, {age}"


def read(connection: Connection, settings: Settings) -> Status:
    """Read the status from ledger, tables and topic. Values that need Kafka are None if it cannot be read.

    Raises the errors of the connection.
    """
    topic_bounds: TopicBounds | OrderFlowError
    try:
        topic_bounds = read_topic_bounds(settings)
    except (KafkaUnavailable, KafkaRefused, TopicMissing, TopicUnusable) as error:
        topic_bounds = error
    entries = ledger.read_entries(connection)
    newest, open_by_reason = existing_orders.newest(connection), viewer_queries.count_open_by_reason(connection)
    return build(settings, entries, topic_bounds, newest, open_by_reason)


def build(
    settings: Settings,
    entries: Sequence[LedgerEntry],
    topic_bounds: TopicBounds | OrderFlowError,
    newest: tuple[str, datetime] | None,
    open_by_reason: dict[str, int] | None = None,
) -> Status:
    """Build the status from values that are already read.

    `topic_bounds` may be the error because of which they are unknown. `newest` is an order_id and order_timestamp.
    """
    ledger_status = compare_ledger(settings.kafka_topic, entries, topic_bounds)
    return Status(
        **msgspec.structs.asdict(ledger_status),
        newest_order=newest[0] if newest else None,
        newest_age_seconds=_age_seconds(newest[1]) if newest else None,
        open_by_reason=open_by_reason,
    )


def _age_seconds(moment: datetime) -> float:
    return (datetime.now(UTC) - moment.replace(tzinfo=UTC)).total_seconds()
