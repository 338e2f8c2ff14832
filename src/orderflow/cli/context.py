"""The settings of a command, and the person who runs it."""

from __future__ import annotations

import getpass
import os
import socket

from orderflow import settings
from orderflow.settings import Settings


def load() -> Settings:
    """Return the settings. If an `orderflow up` is running in ORDERFLOW_HOME, they name its embedded servers.

    Raises SettingInvalid.
    """
    from orderflow.embedded import stack

    current = settings.load()
    return stack.find_running(current) or current


def person() -> str:
    """Return who runs the command, as user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}".encode(errors="backslashreplace").decode()
