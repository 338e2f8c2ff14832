"""Long reads of the topic end with a stop request, and keep the leader's session alive."""

from __future__ import annotations

import threading
from unittest import mock

import pytest

from orderflow.errors import DatabaseUnavailable, KafkaUnavailable, StopRequested
from orderflow.pipeline.leader_session import read_as_leader


def test_the_result_or_the_error_of_the_reading_is_passed_on() -> None:
    assert read_as_leader(mock.Mock(), threading.Event(), lambda: 7) == 7
    with pytest.raises(KafkaUnavailable):
        read_as_leader(mock.Mock(), threading.Event(), mock.Mock(side_effect=KafkaUnavailable("Gone.")))


def test_a_requested_stop_ends_it() -> None:
    stop_event = threading.Event()
    stop_event.set()
    with pytest.raises(StopRequested, match="A stop was requested"):
        read_as_leader(mock.Mock(), stop_event, lambda: threading.Event().wait(30))


def test_the_session_gets_statements_meanwhile() -> None:
    is_alive, connection = threading.Event(), mock.Mock()
    connection.execute.side_effect = lambda _: is_alive.set()
    assert read_as_leader(connection, threading.Event(), lambda: is_alive.wait(30), keep_alive_interval=0)
    connection.rollback.assert_called()


def test_a_lost_session_ends_it() -> None:
    connection = mock.Mock()
    connection.execute.side_effect = DatabaseUnavailable("Gone.")
    with pytest.raises(DatabaseUnavailable):
        read_as_leader(connection, threading.Event(), lambda: threading.Event().wait(30), keep_alive_interval=0)


def test_any_error_of_the_session_ends_it() -> None:
    """Also one that is a bug: the thread must not hide it."""
    connection = mock.Mock()
    connection.execute.side_effect = AttributeError("a bug")
    with pytest.raises(AttributeError, match="a bug"):
        read_as_leader(connection, threading.Event(), lambda: threading.Event().wait(30), keep_alive_interval=0)
