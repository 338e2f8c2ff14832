"""Commands for a topic that was deleted although the ledger has positions in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from unittest import mock

import pytest

from orderflow import topic
from orderflow.audit.scope import find_scope
from orderflow.cli.accept_loss import accept_loss
from orderflow.cli.init import init
from orderflow.errors import OrderFlowError, TopicMissing, TopicRecreated
from orderflow.pipeline.engine_watch import EngineWatch
from orderflow.settings import Settings
from orderflow.store import ledger, schema, snapshot
from orderflow.store.connection import Connection
from orderflow.store.ledger import LedgerEntry
from orderflow.store.schema_steps import SchemaStep
from orderflow.topic import TopicInfo

SETTINGS = Settings()


def _watch() -> EngineWatch:
    return EngineWatch(SETTINGS, mock.Mock(), lambda _: None)


COMMANDS: list[Callable[[], Any]] = [
    lambda: init(dry_run=False, grants=False, partitions=None),
    lambda: init(dry_run=True, grants=False, partitions=None),
    lambda: accept_loss(yes=False, by="", as_json=False),
    lambda: _watch()._query_status(Connection(SETTINGS), TopicInfo("orders", "id", (0,))),
    lambda: find_scope(SETTINGS, Connection(SETTINGS), end_timeout=0.0),
]


@pytest.fixture
def ledger_with_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables exist, and their ledger has a position in the topic."""
    entry = LedgerEntry("orders", 0, "id", 0, 5, 5, 0, 0, 0, datetime(2025, 1, 1))  # noqa: DTZ001 - as the server's
    monkeypatch.setattr("orderflow.cli.context.load", lambda: SETTINGS)
    monkeypatch.setattr(Connection, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(Connection, "__enter__", lambda connection: connection)
    monkeypatch.setattr(Connection, "__exit__", lambda *_: None)
    monkeypatch.setattr(ledger, "read_entries", lambda *_: [entry])
    monkeypatch.setattr(snapshot, "read_ledger", lambda _: [entry])
    monkeypatch.setattr(schema, "missing_steps", lambda _: [])
    monkeypatch.setattr(schema, "prepare", lambda _: [])
    monkeypatch.setattr(topic, "bounds", lambda *_: {})


def _describe_as(monkeypatch: pytest.MonkeyPatch, result: TopicInfo | OrderFlowError) -> None:
    def describe(_: Settings) -> TopicInfo:
        if isinstance(result, OrderFlowError):
            raise result
        return result

    monkeypatch.setattr(topic, "describe", describe)


@pytest.mark.usefixtures("ledger_with_positions")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_deleted_topic_is_not_suggested_for_creation(
    command: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _describe_as(monkeypatch, TopicMissing("Topic orders does not exist.", hint="`orderflow init` creates it."))
    with pytest.raises(TopicMissing, match="although the ledger has positions in it") as caught:
        command()
    assert "orderflow init" not in caught.value.hint + capsys.readouterr().out


@pytest.mark.usefixtures("ledger_with_positions")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_recreated_topic_is_refused(command: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _describe_as(monkeypatch, TopicInfo("orders", "another id", (0,)))
    with pytest.raises(TopicRecreated, match="its id is another id, and the ledger has id"):
        command()


@pytest.mark.usefixtures("ledger_with_positions")
@pytest.mark.parametrize("missing", [["create_database", "create_ledger"], ["create_ledger"]])
def test_a_dry_run_needs_no_ledger(
    missing: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schema, "missing_steps", lambda _: [SchemaStep(name, name) for name in missing])
    monkeypatch.setattr(Connection, "__init__", lambda *_: pytest.fail("the ledger does not exist"))
    _describe_as(monkeypatch, TopicMissing("Topic orders does not exist."))
    init(dry_run=True, grants=False, partitions=None)
    assert capsys.readouterr().out.endswith("-- topic orders is missing: `orderflow init` creates it\n")
