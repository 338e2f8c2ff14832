"""The settings of a command, and the person who runs it."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping

import typer

from orderflow import settings as settings_module
from orderflow.settings import Settings

_LONGEST_NAME = 255  # characters: VARCHAR(255)


def load(options: Mapping[str, str] | None = None) -> Settings:
    """Return the settings. If an `orderflow up` is running in ORDERFLOW_HOME, they name its embedded servers.

    `options` override variables of the environment.

    Raises SettingInvalid.
    """
    from orderflow.running_servers import state_file

    settings = settings_module.load({**os.environ, **(options or {})})
    return state_file.find_running(settings) or settings


def person(given: str = "") -> str:
    """Return the name that `--by` gives; without one, who runs the command, as user@host.

    Raises typer.BadParameter if the name is too long for the columns that record it.
    """
    if len(given) > _LONGEST_NAME:
        raise typer.BadParameter(f"--by must not exceed {_LONGEST_NAME} characters")
    if given:
        return given
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}".encode(errors="backslashreplace").decode()
