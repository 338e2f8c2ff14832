"""How a query that fails repeatedly ends, and what a user of the API sees."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from orderflow.errors import EngineFailed, InputInvalid, KafkaUnavailable, LedgerGap, OrderFlowError
from orderflow.settings import Settings
from orderflow.spark import failures, read_records


def _failing(*errors: OrderFlowError | None) -> Callable[[], Any]:
    """Return a `start` whose queries end with these errors in turn; None is a normal end."""
    return mock.Mock(side_effect=[mock.Mock(awaitTermination=mock.Mock(side_effect=error)) for error in errors])


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures.time, "sleep", lambda _: None)


def test_a_query_behind_its_own_checkpoint_fails_with_a_hint() -> None:
    gap = LedgerGap("The batch of orders partition 0 starts at offset 504", hint="remove the checkpointLocation")
    with pytest.raises(EngineFailed, match=r"failed 8 times in a row: .* offset 504") as failed:
        failures.keep_running(_failing(*[gap] * 8))
    assert failed.value.hint == "remove the checkpointLocation"


def test_an_unavailable_server_is_waited_for() -> None:
    failures.keep_running(_failing(*[KafkaUnavailable("away")] * 20, None))


def test_a_traceback_shows_the_hint() -> None:
    shown = "".join(traceback.format_exception_only(InputInvalid("x is wrong.", hint="Set y.")))
    assert shown.endswith("x is wrong.\nhint: Set y.\n")


@pytest.mark.parametrize("name", ["kafka.isolation.level", "kafka.Isolation.Level"])
def test_aborted_transactions_cannot_be_read(name: str) -> None:
    with pytest.raises(InputInvalid, match="read_uncommitted"):
        read_records(mock.Mock(), Settings(), **{name: "read_uncommitted"})
