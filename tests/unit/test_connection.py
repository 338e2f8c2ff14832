"""A connection that cannot be set up."""

from __future__ import annotations

from unittest import mock

import mysql.connector
import pytest
from mysql.connector.abstracts import MySQLConnectionAbstract

from orderflow.errors import DatabaseUnavailable
from orderflow.settings import Settings
from orderflow.store.connection import Connection


def test_the_session_ends_if_it_cannot_be_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = mock.Mock(spec=MySQLConnectionAbstract)
    raw.cursor().execute.side_effect = mysql.connector.OperationalError(errno=2013)
    raw.cursor().statement = "SET SESSION"
    monkeypatch.setattr(mysql.connector, "connect", lambda **_: raw)
    with pytest.raises(DatabaseUnavailable):
        Connection(Settings())
    raw.close.assert_called_once_with()
