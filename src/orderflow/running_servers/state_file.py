"""`state.json` in ORDERFLOW_HOME: the addresses and processes of `orderflow up`.

Other commands read it to find the running servers. The next `up` reads it to stop what a killed `up` has left running.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from orderflow.errors import StartFailed
from orderflow.running_servers import database_login
from orderflow.running_servers.process_identity import ProcessIdentity, is_running
from orderflow.settings import Settings, is_given

_LOG_PREFIX = re.compile(r"\A[0-9T:-]+Z [A-Z]+ +")  # time and level, before a line's message
_LOG_END = 4096  # bytes at the end of a log in which its last line is searched


class RunningServers(msgspec.Struct, kw_only=True):
    """The content of state.json. Secrets are not part of it; they stay in the servers' files."""

    up: ProcessIdentity
    bootstrap_servers: str | None = None  # of the embedded brokers; None if there are none
    database_port: int | None = None  # of the embedded database; None if there is none
    # Servers and commands by name, in the order of their starts.
    processes: dict[str, ProcessIdentity] = msgspec.field(default_factory=dict, name="parts")


class _JsonLine(msgspec.Struct):
    message: str


def find_running(settings: Settings) -> Settings | None:
    """Settings with the addresses of the `up` of this folder, or None if none runs. Explicit settings are kept."""
    running = read(settings.home)
    return with_addresses(settings, running) if running and is_running(running.up) else None


def with_addresses(settings: Settings, running: RunningServers) -> Settings:
    """Settings with the addresses of the embedded servers. Explicit settings are kept."""
    if running.bootstrap_servers and not is_given("kafka_bootstrap_servers"):
        settings = msgspec.structs.replace(settings, kafka_bootstrap_servers=running.bootstrap_servers)
    if running.database_port and not is_given("mysql_host"):
        settings = msgspec.structs.replace(
            settings,
            mysql_host="127.0.0.1",
            mysql_port=running.database_port,
            mysql_user=database_login.USER,
            mysql_password=database_login.password(database_folder(settings.home)),
            mysql_password_file="",
        )
    return settings


def database_folder(home: Path) -> Path:
    """The folder of the embedded database."""
    return home / "database"


def last_log_line(settings: Settings, command: str) -> str | None:
    """The last line that this command of the folder's `up` logged, without time and level; None if there is none."""
    running = read(settings.home)
    path = settings.home / "logs" / f"{command}.log"
    if running is None or not is_running(running.up) or not path.exists():
        return None
    with path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_END))
        line = next(reversed(log.read().decode(errors="replace").splitlines()), None)
    return line and _message(line)


def _message(line: str) -> str:
    """The message of a log line in either LOG_FORMAT. Other lines, such as the JVM's, are returned unchanged."""
    try:
        return msgspec.json.decode(line, type=_JsonLine).message
    except msgspec.DecodeError:
        return _LOG_PREFIX.sub("", line)


def read(home: Path) -> RunningServers | None:
    """The content, or None if there is no file.

    Raises StartFailed if the file is damaged.
    """
    try:
        return msgspec.json.decode(_path(home).read_bytes(), type=RunningServers)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StartFailed(
            f"{_path(home)} is damaged: {error}.",
            hint="Delete it if no process of that folder is running.",
        ) from error


def write(home: Path, running: RunningServers) -> None:
    """Replace the file atomically."""
    new = _path(home).with_suffix(".new")
    new.write_bytes(msgspec.json.encode(running))
    new.replace(_path(home))


def remove(home: Path) -> None:
    """Delete the file, if it exists."""
    _path(home).unlink(missing_ok=True)


def _path(home: Path) -> Path:
    return home / "state.json"
