"""How the status counts the lag, and describes the newest order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest

from orderflow import topic
from orderflow.errors import KafkaRefused, KafkaUnavailable, OrderFlowError, TopicMissing, TopicUnusable
from orderflow.insights import status
from orderflow.positions.ledger_status import TopicBounds
from orderflow.settings import Settings
from orderflow.store import existing_orders, ledger, viewer_queries
from orderflow.store.ledger import LedgerEntry
from orderflow.topic import Bounds

DOWN = KafkaUnavailable("Kafka is down.")


@pytest.mark.parametrize(
    ("age", "described"),
    [
        (timedelta(seconds=12), "ORDER-1, 12 s old"),
        (timedelta(hours=2), "ORDER-1, 7,200 s old"),
        (timedelta(seconds=-0.3), "ORDER-1, 0 s old"),
        (timedelta(days=-1), "ORDER-1, 86,400 s in the future"),
    ],
)
def test_the_newest_order_is_described_with_its_age(age: timedelta, described: str) -> None:
    newest = "ORDER-1", datetime.now(UTC).replace(tzinfo=None) - age
    assert status.build(Settings(), [], DOWN, newest).describe_newest() == described


def test_without_orders_there_is_no_newest_one() -> None:
    assert status.build(Settings(), [], DOWN, None).describe_newest() is None


BOUNDS = TopicBounds("id", {0: Bounds(first=100, end=130), 1: Bounds(first=0, end=20)})


def _entry(topic_id: str, next_offset: int) -> LedgerEntry:
    return LedgerEntry("orders", 0, topic_id, 100, next_offset, 0, 0, 0, 0, datetime(2026, 1, 1, tzinfo=UTC))


def test_before_the_first_start_the_lag_is_what_the_topic_holds() -> None:
    result = status.build(Settings(), [], BOUNDS, None)
    assert [part.lag for part in result.partitions] == [30, 20] and result.lag == 50


def test_an_added_partition_counts_from_its_beginning() -> None:
    topic_bounds = TopicBounds("id", {**BOUNDS.by_partition, 1: Bounds(first=5, end=20)})
    result = status.build(Settings(), [_entry("id", 128)], topic_bounds, None)
    assert [part.lag for part in result.partitions] == [2, 20] and result.lag == 22


@pytest.mark.parametrize(
    ("topic_bounds", "reason"),
    [(DOWN, DOWN.message), (BOUNDS._replace(topic_id="another"), "was deleted and created again")],
)
def test_a_lag_that_means_nothing_is_unknown_with_its_reason(
    topic_bounds: TopicBounds | OrderFlowError, reason: str
) -> None:
    result = status.build(Settings(), [_entry("id", 128)], topic_bounds, None)
    assert result.lag is None and all(part.lag is None for part in result.partitions)
    assert reason in (result.lag_unknown_because or "")


@pytest.mark.parametrize("error", [DOWN, KafkaRefused("No right."), TopicMissing("None."), TopicUnusable("No id.")])
def test_a_topic_that_cannot_be_read_hides_nothing_of_the_tables(
    error: OrderFlowError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic, "describe", mock.Mock(side_effect=error))
    monkeypatch.setattr(ledger, "read_entries", lambda _: [_entry("id", 128)])
    monkeypatch.setattr(existing_orders, "newest", lambda _: None)
    monkeypatch.setattr(viewer_queries, "count_open_by_reason", lambda _: {})
    result = status.read(mock.Mock(), Settings())
    assert (result.partitions[0].next_offset, result.lag_unknown_because) == (128, error.message)
