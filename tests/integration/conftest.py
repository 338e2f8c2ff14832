"""Fixtures that several files use: tables without and with records, and the two ways to insert rows."""

from __future__ import annotations

import pytest

from orderflow.settings import Settings
from orderflow.store import schema
from tests.support.audited import fill


@pytest.fixture
def store(database: Settings) -> Settings:
    """Return settings of a new database with all tables."""
    schema.prepare(database)
    return database


@pytest.fixture(params=["load data", "insert"])
def load_data(request: pytest.FixtureRequest) -> bool:
    """Return each of the two ways to insert rows."""
    return bool(request.param == "load data")


@pytest.fixture
def stored(settings: Settings) -> Settings:
    """Return settings of a topic and a database with the nine records of `fill`."""
    fill(settings)
    return settings
