"""How the status describes the newest order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orderflow.insights import status
from orderflow.settings import Settings


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
    assert status.combine(Settings(), [], {}, newest).describe_newest() == described


def test_without_orders_there_is_no_newest_one() -> None:
    assert status.combine(Settings(), [], {}, None).describe_newest() is None
