"""The settings a command works with."""

from __future__ import annotations

from orderflow import settings
from orderflow.settings import Settings


def load() -> Settings:
    """The settings; where an `orderflow up` runs in ORDERFLOW_HOME, its embedded servers are the ones meant.

    Raises SettingInvalid.
    """
    from orderflow.embedded import stack

    current = settings.load()
    return stack.running(current) or current
