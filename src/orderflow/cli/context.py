"""The settings a command works with, and who runs it."""

from __future__ import annotations

import getpass
import os
import socket

from orderflow import settings
from orderflow.settings import Settings


def load() -> Settings:
    """The settings; where an `orderflow up` runs in ORDERFLOW_HOME, its embedded servers are the ones meant.

    Raises SettingInvalid.
    """
    from orderflow.embedded import stack

    current = settings.load()
    return stack.running(current) or current


def person() -> str:
    """Who runs the command, as user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
